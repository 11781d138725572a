#include "models/load.h"

#include <algorithm>

namespace rushes {

void Load::add(const Load& other, double times) {
  matmul_flops += times * other.matmul_flops;
  attention_flops += times * other.attention_flops;
  scores += times * other.scores;
  conv_flops += times * other.conv_flops;
  moved_bytes += times * other.moved_bytes;
  product_bytes += times * other.product_bytes;
  calls += times * other.calls;
  steps += times * other.steps;
  for (size_t i = 0; i < sent.size(); ++i) {
    sent[i].bytes += times * other.sent[i].bytes;
    sent[i].exchanges += times * other.sent[i].exchanges;
  }
  weight_bytes = std::max(weight_bytes, other.weight_bytes);
  activation_bytes = std::max(activation_bytes, other.activation_bytes);
}

}  // namespace rushes
