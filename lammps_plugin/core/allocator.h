// SPDX-License-Identifier: MIT
#pragma once

namespace legato {

// Lets this process keep freed memory for the next block. The arrays inside a model are large
// enough for glibc to hand them back to the system and to get them anew, page by page, for every
// block: up to a tenth of the time. The thresholds set here, 32 and 64 MiB, are those that glibc
// itself moves up to as a program frees large arrays (mallopt(3), M_MMAP_THRESHOLD); what was set
// by environment variables stays. Other allocators are left alone.
void keep_freed_memory();

}    // namespace legato
