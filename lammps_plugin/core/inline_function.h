// SPDX-License-Identifier: MIT
// Functions that Kokkos' kernels call, too: include Kokkos first where they do.
#pragma once

#ifdef KOKKOS_INLINE_FUNCTION
#define LEGATO_INLINE_FUNCTION KOKKOS_INLINE_FUNCTION
#else
#define LEGATO_INLINE_FUNCTION inline
#endif
