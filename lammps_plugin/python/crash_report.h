// SPDX-License-Identifier: MIT
#ifndef LEGATO_CRASH_REPORT_H
#define LEGATO_CRASH_REPORT_H

namespace legato {

// Where the process crashes from now on is written to stderr, one line a function, innermost first,
// each after "frame: "; then the process ends by the same signal.
void report_crashes();

}    // namespace legato

#endif
