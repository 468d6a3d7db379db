// SPDX-License-Identifier: MIT
#ifndef LEGATO_CRASH_REPORT_H
#define LEGATO_CRASH_REPORT_H

namespace legato {

// From now on a crash of the process writes to stderr where it happened: one line "frame: ..." for
// each function, innermost first. Then the process ends by the same signal.
void report_crashes();

}    // namespace legato

#endif
