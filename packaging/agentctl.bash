# bash completion for agentctl(1)

_agentctl() {
	local cur=$2 prev=$3 command= word i
	local commands="run start attach list kill remove ls cat cp mv rm mkdir stat du glob grep watch ping info upgrade"
	local global="--connect --token-file --retry --verbose --help --version"
	local files="--root --as" options= agent=(agentctl --retry 0)

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		--connect | --token-file) agent+=("$word" "${COMP_WORDS[++i]}") ;;
		--retry) ((i++)) ;;
		-*) ;;
		*) command=$word; break ;;
		esac
	done
	case $prev in
	--connect) mapfile -t COMPREPLY < <(compgen -W "unix: vsock: hybrid:" -- "$cur"); return ;;
	--token-file) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	--to) mapfile -t COMPREPLY < <(compgen -W "leader group tree" -- "$cur"); return ;;
	--since) mapfile -t COMPREPLY < <(compgen -W "now" -- "$cur"); return ;;
	--user | --as) mapfile -t COMPREPLY < <(compgen -u -- "$cur"); return ;;
	--retry | --timeout | --grace | --id | --cwd | --env | -e | --count | -n | --glob | --root) return ;;
	esac
	if [[ -z $command ]]; then
		if [[ $cur == -* ]]; then
			mapfile -t COMPREPLY < <(compgen -W "$global" -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
		fi
		return
	fi
	case $command in
	run) options="--stdin --timeout --user --cwd --env --id --keep" ;;
	start) options="--stdin --timeout --user --cwd --env --id" ;;
	attach) options="--stdin --since" ;;
	list | info) options="--json" ;;
	kill) options="--to --grace" ;;
	ping) options="--count" ;;
	ls) options="--long --all --json $files" ;;
	cp) options="--recursive --quiet $files" ;;
	rm) options="--recursive --force $files" ;;
	mkdir) options="--parents $files" ;;
	stat | du | watch) options="--json $files" ;;
	cat | mv) options=$files ;;
	glob) options="--all --gitignore --json $files" ;;
	grep) options="--all --ignore-case --fixed --word --glob --gitignore --json $files" ;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options $global" -- "$cur")
		return
	fi
	case $command in
	attach | kill | remove) # ids of sessions, when an agent answers at once
		mapfile -t COMPREPLY < <(compgen -W \
			"$("${agent[@]}" list 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$cur")
		;;
	cp)
		[[ $cur == :* ]] || mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		;;
	ls | cat | mv | rm | mkdir | stat | du | watch) # directories of the guest
		local dir=${cur%"${cur##*/}"}

		compopt -o nospace 2>/dev/null
		mapfile -t COMPREPLY < <("${agent[@]}" ls -a "${dir:-.}" 2>/dev/null |
			while IFS= read -r word; do [[ $dir$word == "$cur"* ]] && printf '%s\n' "$dir$word"; done)
		;;
	esac
}

complete -F _agentctl agentctl
