// decider MODEL OBSERVATIONS WIDTH: as deciders.py, for a TorchScript policy on libtorch.
#include <ATen/Parallel.h>
#include <torch/script.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

torch::Tensor decide(torch::jit::script::Module& policy, const torch::Tensor& rows) {
  return policy.forward({rows}).toTuple()->elements().at(0).toTensor();
}

std::string act(torch::jit::script::Module& policy, const torch::Tensor& all) {
  std::ostringstream text;
  text << "[";
  for (int64_t row = 0; row < all.size(0); ++row) {
    const torch::Tensor action = decide(policy, all.slice(0, row, row + 1)).to(torch::kDouble).reshape({-1});
    text << (row ? ", [" : "[");
    for (int64_t i = 0; i < action.size(0); ++i) text << (i ? ", " : "") << action[i].item<double>();
    text << "]";
  }
  text << "]";
  return text.str();
}

std::string timed(torch::jit::script::Module& policy, const torch::Tensor& all, int64_t batch, double seconds) {
  std::vector<torch::Tensor> ready;
  for (int64_t first = 0; first + batch <= all.size(0); first += batch)
    ready.push_back(all.slice(0, first, first + batch).clone());
  decide(policy, ready.back());
  std::ostringstream text;
  text << "[";
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  for (size_t turn = 0;; ++turn) {
    const auto begun = Clock::now();
    decide(policy, ready[turn % ready.size()]);
    const auto ended = Clock::now();
    text << (turn ? ", " : "") << std::chrono::duration_cast<std::chrono::nanoseconds>(ended - begun).count();
    if (ended > end) break;
  }
  text << "]";
  return text.str();
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 4) throw std::runtime_error("usage: decider MODEL OBSERVATIONS WIDTH");
  at::set_num_threads(1);
  c10::InferenceMode guard;
  torch::jit::script::Module policy = torch::jit::load(argv[1]);
  std::ifstream file(argv[2], std::ios::binary);
  std::ostringstream held;
  held << file.rdbuf();
  std::string bytes = held.str();
  const torch::Tensor all =
      torch::from_blob(bytes.data(), {static_cast<int64_t>(bytes.size() / 4)}).reshape({-1, std::stoll(argv[3])}).clone();
  decide(policy, all.slice(0, 0, 1));
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string what;
    int64_t batch = 0;
    double seconds = 0;
    words >> what >> batch >> seconds;
    std::cout << (what == "act" ? act(policy, all) : timed(policy, all, batch, seconds)) << std::endl;
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << "\n";
  return 1;
}
