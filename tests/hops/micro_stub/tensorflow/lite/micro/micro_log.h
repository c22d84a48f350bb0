// Test fixture, see README.md.
#pragma once

__attribute__((format(printf, 1, 2))) void MicroPrintf(const char* format, ...);
