#pragma once
// SIGTERM, SIGINT and SIGUSR1 ask for a stop: the running step ends, what is finished is kept, exit code 75.

#include "base/stop.h"

namespace rushes {

/// From here on the three signals request `stop`, which must live as long as the process may get signals (so:
/// as long as the returned object). A second SIGINT ends the process at once, as Ctrl-C users expect.
class SignalStop {
 public:
  explicit SignalStop(StopToken& stop);
  ~SignalStop();
  SignalStop(const SignalStop&) = delete;
  SignalStop& operator=(const SignalStop&) = delete;
};

/// The number of the last signal that asked for a stop, 0 if none did.
int stop_signal();

}  // namespace rushes
