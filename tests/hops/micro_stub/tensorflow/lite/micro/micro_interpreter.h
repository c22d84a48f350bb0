// Test fixture, see README.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensorflow/lite/schema/schema_generated.h"

enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 };

union TfLitePtrUnion {
  int32_t* i32;
  float* f;
  uint8_t* uint8;
  bool* b;
  int16_t* i16;
  int8_t* int8;
};

struct TfLiteTensor {
  TfLitePtrUnion data;
  size_t bytes;
};

namespace tflite {
class MicroOpResolver {};

class MicroInterpreter {
 public:
  MicroInterpreter(const Model* model, const MicroOpResolver& op_resolver, uint8_t* tensor_arena,
                   size_t tensor_arena_size);
  TfLiteStatus AllocateTensors();
  TfLiteStatus Invoke();
  TfLiteTensor* input(size_t index);
  TfLiteTensor* output(size_t index);
  size_t arena_used_bytes() const;
};
}  // namespace tflite
