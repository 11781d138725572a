#pragma once

#include <c10/core/Device.h>

#include "attention/step_context.h"
#include "config/settings.h"

namespace rushes {

/// What `attention: auto` comes to on a device, where no bias is given.
AttentionBackend fastest_attention(at::Device device, Dtype dtype);

}  // namespace rushes
