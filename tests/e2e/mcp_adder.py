"""The smallest MCP server: one tool, `add`, over stdio."""
import json
import os
import sys

TOOL = {"name": "add", "description": "adds two numbers",
        "inputSchema": {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}}}

for line in sys.stdin:
    message = json.loads(line)
    method, params = message.get("method"), message.get("params", {})
    if "id" not in message:
        continue
    if method == "initialize":
        result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "adder", "version": "1"}}
    elif method == "tools/list":
        result = {"tools": [TOOL]}
    elif method == "tools/call":
        numbers = params["arguments"]
        total = numbers["a"] + numbers["b"] + int(os.environ.get("BIAS", "0"))
        result = {"content": [{"type": "text", "text": str(total)}]}
    else:
        result = None
    answer = {"error": {"code": -32601, "message": "no"}} if result is None else {"result": result}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
