/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Included before each library source: weir_relax() tells the scheduler that a thread spins. */
#ifndef WEIR_MODEL_RELAX_H
#define WEIR_MODEL_RELAX_H

void model_relax(void);
#define __builtin_ia32_pause model_relax

#endif
