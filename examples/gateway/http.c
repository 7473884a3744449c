/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Requests into a struct, answers into a buffer. */
/*
 * The parser hands over strings in pieces of any size, so everything is gathered in buffers of
 * fixed size; what does not fit is refused, never cut silently.  At the end of a message the parser
 * is paused: what follows in the buffer is the next request, and waits until this one is answered.
 */
#include "gateway.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static void refuse(struct gw_request *request, uint16_t status, const char *why)
{
	if (request->refused)
		return;
	request->refused = status;
	request->why = why;
}

/* Append to a string of `room` bytes that stays terminated.  False when it does not fit. */
static bool gather(char *text, uint32_t *used, size_t room, const char *at, size_t bytes)
{
	if (bytes >= room - *used)
		return false;
	memcpy(text + *used, at, bytes);
	*used += (uint32_t)bytes;
	text[*used] = 0;
	return true;
}

static int on_url(http_parser *parser, const char *at, size_t bytes)
{
	struct gw_request *request = parser->data;

	if (!gather(request->target, &request->target_used, sizeof(request->target), at, bytes))
		refuse(request, 414, "the request target is longer than 255 bytes");
	return 0;
}

/* Client names go into the log: one word of plain characters. */
static bool word(const char *text)
{
	for (; *text; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

/* A header is over: keep it if it is one of ours. */
static void header_end(struct gw_request *request)
{
	struct weir_trace trace;

	if (!strcasecmp(request->name, "x-client")) {
		if (!request->value[0] || strlen(request->value) >= sizeof(request->client) ||
		    !word(request->value))
			refuse(request, 400, "X-Client must be one word of 1 to 31 characters");
		else
			memcpy(request->client, request->value, strlen(request->value) + 1);
	}
	if (!strcasecmp(request->name, "traceparent")) {
		if (request->traceparent[0] ||
		    weir_traceparent_parse(request->value, request->value_used, &trace) < 0)
			refuse(request, 400,
			       "traceparent must be one W3C trace context, "
			       "00-<32 hex>-<16 hex>-<2 hex>");
		else
			memcpy(request->traceparent, request->value, sizeof(request->value));
	}
	request->name_used = 0;
	request->value_used = 0;
	request->name[0] = 0;
	request->value[0] = 0;
	request->value_began = false;
}

static int on_field(http_parser *parser, const char *at, size_t bytes)
{
	struct gw_request *request = parser->data;

	if (request->value_began)
		header_end(request);
	/* Too long a name is none of ours, and must not become one by being cut. */
	if (!gather(request->name, &request->name_used, sizeof(request->name), at, bytes))
		memcpy(request->name, "?", 2);
	return 0;
}

static int on_value(http_parser *parser, const char *at, size_t bytes)
{
	struct gw_request *request = parser->data;

	request->value_began = true;
	/* Too long a value must not pass as a shorter one: no header of ours contains a space. */
	if (!gather(request->value, &request->value_used, sizeof(request->value), at, bytes))
		memcpy(request->value, " ", 2);
	return 0;
}

static int on_headers(http_parser *parser)
{
	struct gw_request *request = parser->data;

	if (request->value_began)
		header_end(request);
	if (parser->content_length != UINT64_MAX && parser->content_length > GW_BODY_BYTES)
		refuse(request, 413, "the body is longer than 65536 bytes");
	return request->refused ? -1 : 0; /* Do not wait for a body that nobody wants. */
}

static int on_body(http_parser *parser, const char *at, size_t bytes)
{
	struct gw_request *request = parser->data;

	(void)at; /* The demo's upstream wants no body. */
	if (bytes > GW_BODY_BYTES - request->body_used) {
		refuse(request, 413, "the body is longer than 65536 bytes");
		return 1;
	}
	request->body_used += (uint32_t)bytes;
	return 0;
}

static int on_complete(http_parser *parser)
{
	struct gw_request *request = parser->data;

	request->complete = true;
	request->method = (uint8_t)parser->method;
	request->keep_alive = http_should_keep_alive(parser) && !parser->upgrade;
	if (parser->http_major != 1)
		refuse(request, 505, "this is a server for HTTP/1.1");
	else if (parser->method != HTTP_GET && parser->method != HTTP_POST)
		refuse(request, 405, "only GET and POST are served here");
	else if (request->target[0] != '/' || !word(request->target))
		refuse(request, 400, "the request target must be a path");
	http_parser_pause(parser, 1);
	return 0;
}

const http_parser_settings gw_request_settings = {
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_headers_complete = on_headers,
	.on_body = on_body,
	.on_message_complete = on_complete,
};

void gw_request_reset(struct gw_request *request)
{
	memset(request, 0, sizeof(*request));
}

uint16_t gw_parser_status(const http_parser *parser, const char **ret_why)
{
	const struct gw_request *request = parser->data;
	enum http_errno error = HTTP_PARSER_ERRNO(parser);

	if (request->refused) {
		*ret_why = request->why;
		return request->refused;
	}
	*ret_why = http_errno_description(error);
	if (error == HPE_HEADER_OVERFLOW)
		return 431;
	return error == HPE_INVALID_VERSION ? 505 : 400;
}

uint32_t gw_answer_format(const struct gw_answer *answer, char *ret_text, uint32_t text_bytes)
{
	char trace[WEIR_TRACEPARENT_BYTES];
	char retry[40] = "";
	int n;

	weir_traceparent_format(answer->trace, trace);
	if (answer->retry_ns) /* Rounded up: who comes at that time is not too early. */
		snprintf(retry, sizeof(retry), "Retry-After: %llu\r\n",
			 (unsigned long long)((answer->retry_ns + 999999999u) / 1000000000u));
	n = snprintf(ret_text, text_bytes,
		     "HTTP/1.1 %u %s\r\n"
		     "Content-Type: text/plain\r\n"
		     "Content-Length: %u\r\n"
		     "traceparent: %s\r\n"
		     "X-Worker: %u\r\n"
		     "%s%s\r\n"
		     "%.*s",
		     answer->status, http_status_str(answer->status), answer->body_bytes, trace,
		     answer->worker, retry, answer->close ? "Connection: close\r\n" : "",
		     (int)answer->body_bytes, answer->body);
	return n < 0 || (uint32_t)n >= text_bytes ? 0 : (uint32_t)n;
}
