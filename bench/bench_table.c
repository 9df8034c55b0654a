/* The table: one line per measure, medians over the rounds, the bar beside it. */
#include "bench/bench.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

#define MAX_LINES  128
#define MAX_ROUNDS 64
#define MAX_NOTES  32

static struct row {
	const struct line *line;
	double value[MAX_ROUNDS], floor[MAX_ROUNDS], ratio[MAX_ROUNDS];
	size_t n;
} rows[MAX_LINES];
static size_t n_rows;

static char notes[MAX_NOTES][256];
static size_t n_notes;

void table_add(const struct line *line, double value, double floor)
{
	struct row *r = rows;

	while (r < rows + n_rows && r->line != line)
		r++;
	ASSERT(r < rows + MAX_LINES);
	if (r == rows + n_rows)
		n_rows++;
	r->line = line;
	if (r->n == MAX_ROUNDS)
		return;
	r->value[r->n] = value;
	r->floor[r->n] = floor;
	r->ratio[r->n] = line->floor && floor > 0 ? value / floor : NAN;
	r->n++;
}

void table_forget(const char *section)
{
	for (struct row *r = rows; r < rows + n_rows; r++)
		if (strcmp(r->line->section, section) == 0)
			r->n = 0;
}

void table_note(const char *fmt, ...)
{
	va_list ap;

	if (n_notes == MAX_NOTES)
		return;
	va_start(ap, fmt);
	vsnprintf(notes[n_notes++], sizeof(notes[0]), fmt, ap);
	va_end(ap);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const double *v, size_t n)
{
	double sorted[MAX_ROUNDS];

	memcpy(sorted, v, n * sizeof(*v));
	qsort(sorted, n, sizeof(*sorted), compare);
	return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static bool met(const struct line *l, double value, double ratio)
{
	switch (l->bar) {
	case RATIO_MAX: return ratio <= l->limit;
	case RATIO_MIN: return ratio >= l->limit;
	case VALUE_MAX: return value <= l->limit;
	case BAR_NONE: break;
	}
	return true;
}

static void print_json(const struct row *r, double value, double floor, double ratio)
{
	static const char *const bars[] = {
		[RATIO_MAX] = "ratio_max", [RATIO_MIN] = "ratio_min", [VALUE_MAX] = "value_max"};
	const struct line *l = r->line;

	printf("{\"section\":\"%s\",\"name\":\"%s\",\"unit\":\"%s\",\"value\":%.6g,\"rounds\":%zu",
		l->section, l->name, l->unit, value, r->n);
	if (l->floor)
		printf(",\"floor\":\"%s\",\"floor_value\":%.6g,\"ratio\":%.4g", l->floor, floor,
			ratio);
	if (l->bar)
		printf(",\"%s\":%g,\"met\":%s", bars[l->bar], l->limit,
			met(l, value, ratio) ? "true" : "false");
	printf("}\n");
}

/* Four digits are more than the machine is good for. */
static const char *number(double v, char out[32])
{
	snprintf(out, 32, v >= 1000 ? "%.0f" : v >= 100 ? "%.1f" : v >= 10 ? "%.2f" : "%.3f", v);
	return out;
}

static void print_row(const struct row *r, double value, double floor, double ratio)
{
	const struct line *l = r->line;
	char a[32], b[32], bar[32] = "";

	printf("%-7s %-38s %9s %-7s", l->section, l->name, number(value, a), l->unit);
	if (l->bar == VALUE_MAX)
		snprintf(bar, sizeof(bar), "<= %s %s", number(l->limit, b), l->unit);
	else if (l->bar)
		snprintf(bar, sizeof(bar), "%s %.2f", l->bar == RATIO_MAX ? "<=" : ">=", l->limit);
	if (l->floor)
		printf(" %-18s %9s %6.2f", l->floor, number(floor, b), ratio);
	else if (l->bar)
		printf(" %-18s %9s %6s", "", "", "");
	if (l->bar)
		printf("  %s%s", bar, met(l, value, ratio) ? "" : "  MISSED");
	printf("\n");
}

void table_print(void)
{
	if (!options.json)
		printf("%-7s %-38s %9s %-7s %-18s %9s %6s  %s\n", "section", "measure", "agentd",
			"", "compared with", "", "ratio", "bar");
	for (size_t i = 0; i < n_rows; i++) {
		const struct row *r = &rows[i];
		double value, floor, ratio;

		if (r->n == 0)
			continue;
		value = median(r->value, r->n);
		floor = median(r->floor, r->n);
		ratio = median(r->ratio, r->n);
		(options.json ? print_json : print_row)(r, value, floor, ratio);
	}
	for (size_t i = 0; i < n_notes; i++)
		fprintf(options.json ? stderr : stdout, "note: %s\n", notes[i]);
}
