/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* One record of the access log, as text. */
#include "gateway.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int gw_record_parse(const char *text, struct gw_record *ret_record)
{
	struct gw_record record = {0};
	int n = -1;

	if (sscanf(text,
		   "%" SCNu32 " %" SCNu64 " %" SCNu16 " %" SCNu8 " %" SCNu8 " %31s %32s %" SCNu64
		   " %" SCNu64 " %" SCNu64 " %95s%n",
		   &record.worker, &record.seq, &record.status, &record.admitted, &record.weight,
		   record.client, record.trace_id, &record.start_ns, &record.end_ns,
		   &record.wait_ns, record.target, &n) != 11)
		return -EBADMSG;
	if (n < 0 || text[n] || strlen(record.trace_id) != 32)
		return -EBADMSG;
	*ret_record = record;
	return 0;
}

int gw_record_format(const struct gw_record *record, char *ret_text, size_t text_bytes)
{
	return snprintf(ret_text, text_bytes,
			"%" PRIu64 " %u %" PRIu64 " %u %u %u %s %s %" PRIu64 " %" PRIu64 " %" PRIu64
			" %s\n",
			record->position, record->worker, record->seq, record->status,
			record->admitted, record->weight, record->client, record->trace_id,
			record->start_ns, record->end_ns, record->wait_ns, record->target);
}
