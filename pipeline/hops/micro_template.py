"""The C++ that every policy for microcontrollers has, with braces doubled for ``str.format``."""

from __future__ import annotations

# Keywords up to C++20, and names that platforms define as macros or functions.
RESERVED = frozenset(
    """alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const constexpr
    const_cast continue decltype default delete do double dynamic_cast else enum explicit export extern false float
    for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private
    protected public register reinterpret_cast return short signed sizeof static static_assert static_cast struct
    switch template this thread_local throw true try typedef typeid typename union unsigned using virtual void
    volatile wchar_t while xor xor_eq char8_t char16_t char32_t concept consteval constinit co_await co_return
    co_yield requires linux unix errno assert abs min max round""".split()
)

HEADER = """\
// {told}
//
//   policy::Inputs inputs = {{}};       // an episode starts
//   inputs.{first}[0] = ...;            // in the environment's units
//   policy::Action action;
//   policy::act(interpreter, inputs, action);
//
// Written by Slipway. policy.json beside this file is the contract that it follows.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace policy {{

constexpr unsigned kDataBytes = {bytes};  // of policy_data, which this header belongs to
constexpr int kArenaBytes = {arena};  // {measured} measured with TFLM's reference kernels on 64 bits, and a margin

// What the policy takes, in the environment's units.
struct Inputs {{
{inputs}
}};

// What it answers, ready for the environment.
struct Action {{
  {action} values[{count}];
}};

// Round half to even, as NumPy does.
template <typename T>
T quantize(float x, float scale, int zero_point) {{
  const float level = std::nearbyint(x / scale) + static_cast<float>(zero_point);
  const float lowest = std::numeric_limits<T>::min(), highest = std::numeric_limits<T>::max();
  return static_cast<T>(!(level > lowest) ? lowest : level > highest ? highest : level);
}}

template <typename T>
float dequantize(T level, float scale, int zero_point) {{
  return (static_cast<float>(level) - static_cast<float>(zero_point)) * scale;
}}

template <typename T>
T clip(T x, T low, T high) {{
  return x < low ? low : x > high ? high : x;
}}

// Number i of the one-hot encoding of one or several choices.
inline float one_hot(const int32_t* choice, const int* sizes, int i) {{
  while (i >= *sizes) {{
    i -= *sizes++;
    ++choice;
  }}
  return *choice == i ? 1.0f : 0.0f;
}}

// The first of the largest.
inline int32_t argmax(const float* x, int count) {{
  int32_t best = 0;
  for (int i = 1; i < count; ++i) best = x[i] > x[best] ? i : best;
  return best;
}}

{functions}
}}  // namespace policy
"""

DATA_HEADER = """\
// {told}
#pragma once

extern const unsigned char policy_data[];
extern const unsigned int policy_data_size;
"""
EXAMPLE = """\
// {told}
//
// A start for a firmware: Observe and Apply are yours. Needs policy.h, policy_data.h, policy_data.cc and TensorFlow
// Lite Micro. Written by Slipway.

#include "policy.h"
#include "policy_data.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {{

alignas(16) uint8_t arena[policy::kArenaBytes];

// The operators that this network has, and no others: each takes flash.
using Resolver = tflite::MicroMutableOpResolver<{count}>;

bool AddOperators(Resolver& resolver) {{
{added}
  return true;
}}

// Yours: write the observation, in the environment's units. False ends the loop.
bool Observe(policy::Inputs& inputs) {{
  (void)inputs;
  return false;
}}

// Yours: do it.
void Apply(const policy::Action& action) {{ (void)action; }}

}}  // namespace

int main() {{
  tflite::InitializeTarget();
  const tflite::Model* model = tflite::GetModel(policy_data);
  if (model->version() != TFLITE_SCHEMA_VERSION || policy_data_size != policy::kDataBytes) {{
    MicroPrintf("policy_data.cc is not of this TensorFlow Lite Micro, or not of this policy.h");
    return 1;
  }}
  static Resolver resolver;
  if (!AddOperators(resolver)) return 1;
  static tflite::MicroInterpreter interpreter(model, resolver, arena, policy::kArenaBytes);
  if (interpreter.AllocateTensors() != kTfLiteOk) {{
    MicroPrintf("an arena of %d bytes is too small for these kernels", policy::kArenaBytes);
    return 1;
  }}
  MicroPrintf("%d of %d bytes of the arena are used", static_cast<int>(interpreter.arena_used_bytes()),
              policy::kArenaBytes);
  static policy::Inputs inputs = {{}};  // set it to {{}} again where an episode starts
  policy::Action action;
  while (Observe(inputs)) {{
    if (!policy::act(interpreter, inputs, action)) return 1;
    Apply(action);
  }}
  return 0;
}}
"""
