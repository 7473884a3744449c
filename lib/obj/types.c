/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* The object types: what the sweep does with each. */
#include "obj/obj.h"

const struct weir__type weir__types[] = {
	[WEIR_OBJECT_TYPE_NONE] = {"none", NULL},
	[WEIR_OBJECT_TYPE_SEM] = {"sem", weir__sem_recover},
	[WEIR_OBJECT_TYPE_LIMITER] = {"limiter", NULL},
	[WEIR_OBJECT_TYPE_BREAKER] = {"breaker", weir__breaker_recover},
	[WEIR_OBJECT_TYPE_QUEUE] = {"queue", weir__queue_recover},
	[WEIR_OBJECT_TYPE_SPANS] = {"spans", NULL},
};
const uint32_t weir__type_count = sizeof(weir__types) / sizeof(weir__types[0]);
