/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* weir: limits, queues and circuit breakers that every process on a host shares. */
#ifndef WEIR_H
#define WEIR_H

#include <weir/base.h>
#include <weir/ctx.h>
#include <weir/segment.h>
#include <weir/sem.h>
#include <weir/limiter.h>
#include <weir/breaker.h>
#include <weir/queue.h>
#include <weir/span.h>
#include <weir/layout.h>

#endif
