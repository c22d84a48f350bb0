// Test fixture, see README.md.
#pragma once

namespace tflite {
void InitializeTarget();
}
