#include "jobs/guarded.h"

#include <new>

#include "base/error.h"
#include "base/log.h"
#include "base/stop.h"
#include "device/torch_error.h"
#include "dist/world.h"

namespace rushes {

int guarded(c10::function_ref<void()> part) {
  try {
    part();
    return kExitDone;
  } catch (const StoppedEarly& stopped) {
    log_debug(stopped.what());
    return kExitStopped;
  } catch (const UserError& error) {
    for (const std::string& problem : error.problems())
      log_error(problem);
  } catch (const InternalError&) {
    throw;
  } catch (const std::bad_alloc&) {
    log_error("not enough memory");
  } catch (const std::exception& error) {
    log_error(message_of(error));
  }
  return kExitUsage;
}

}  // namespace rushes
