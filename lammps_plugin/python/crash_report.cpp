// SPDX-License-Identifier: MIT
#include "crash_report.h"

#include <csignal>
#include <initializer_list>

#if defined(__GLIBC__)
#include <execinfo.h>
#include <unistd.h>
#endif

namespace legato {

#if defined(__GLIBC__)
namespace {

constexpr int kMostFrames = 40;
// Itself and the trampoline of the signal.
constexpr int kOwnFrames = 2;

// Calls only what is allowed in a signal handler.
void report(const int signal)
{
  std::signal(signal, SIG_DFL);
  void *frames[kMostFrames];
  const int n = backtrace(frames, kMostFrames);
  for (int k = kOwnFrames; k < n; ++k) {
    const char prefix[] = "frame: ";
    if (write(STDERR_FILENO, prefix, sizeof(prefix) - 1) < 0) break;
    backtrace_symbols_fd(frames + k, 1, STDERR_FILENO);
  }
  std::raise(signal);
}

}    // namespace

void report_crashes()
{
  void *frame;
  backtrace(&frame, 1);    // loads what backtrace needs, which a handler may not do
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) std::signal(signal, report);
}
#else
void report_crashes() {}
#endif

}    // namespace legato
