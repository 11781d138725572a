#include "jobs/signals.h"

#include <atomic>
#include <csignal>

namespace rushes {
namespace {

// A signal handler can reach nothing but globals.
std::atomic<StopToken*> g_stop{nullptr};
std::atomic<int> g_signal{0};

extern "C" void ask_to_stop(int signal) {
  g_signal.store(signal, std::memory_order_relaxed);
  if (StopToken* stop = g_stop.load(std::memory_order_relaxed)) stop->request();
}

void set_handler(int signal, void (*handler)(int), int flags) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

}  // namespace

SignalStop::SignalStop(StopToken& stop) {
  g_signal.store(0);
  g_stop.store(&stop);
  set_handler(SIGTERM, ask_to_stop, SA_RESTART);
  set_handler(SIGUSR1, ask_to_stop, SA_RESTART);
  set_handler(SIGINT, ask_to_stop, SA_RESTART | static_cast<int>(SA_RESETHAND));
  // Whoever reads our output may go away; that is no reason to die.
  set_handler(SIGPIPE, SIG_IGN, 0);
}

SignalStop::~SignalStop() {
  // Signals that still come (Slurm sends several) must not kill a process that is just ending in order.
  g_stop.store(nullptr);
}

int stop_signal() {
  return g_signal.load(std::memory_order_relaxed);
}

}  // namespace rushes
