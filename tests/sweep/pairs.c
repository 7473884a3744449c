/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "sweep.h"
void sweep_pairs(void)
{
}
