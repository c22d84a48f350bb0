// run_policy MODEL: a TorchScript policy on libtorch, for jobs on standard input (see raw.py).
#include <ATen/Parallel.h>
#include <torch/script.h>

#include <fstream>
#include <iostream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

std::string slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The job has one fixed form, written by raw.py, so a pattern reads it; a JSON library would be the only dependency.
std::string match(const std::string& text, const std::string& pattern) {
  std::smatch found;
  if (!std::regex_search(text, found, std::regex(pattern))) throw std::runtime_error("job.json lacks " + pattern);
  return found[1];
}

std::vector<std::string> words(const std::string& list) {
  std::vector<std::string> found;
  std::regex word("[^\\s,\"]+");
  for (std::sregex_iterator it(list.begin(), list.end(), word), end; it != end; ++it) found.push_back(it->str());
  return found;
}

std::string dtype_name(torch::ScalarType type) {
  switch (type) {
    case torch::kFloat32: return "float32";
    case torch::kInt64: return "int64";
    default: throw std::runtime_error("an output has a dtype that policies do not have");
  }
}

torch::ScalarType dtype_of(const std::string& name) {
  if (name == "float32") return torch::kFloat32;
  if (name == "int32") return torch::kInt32;
  if (name == "bool") return torch::kBool;
  throw std::runtime_error("policies take no " + name);
}

// The inputs of a job, in its order, which is the order of the policy's arguments.
std::vector<torch::jit::IValue> inputs_of(const std::string& folder, const std::string& job) {
  std::vector<torch::jit::IValue> inputs;
  std::regex entry("\"shape\": \\[([^\\]]*)\\], \"dtype\": \"(\\w+)\", \"file\": \"(\\w+)\"");
  for (std::sregex_iterator it(job.begin(), job.end(), entry), end; it != end; ++it) {
    std::vector<int64_t> shape;
    for (const auto& n : words((*it)[1])) shape.push_back(std::stoll(n));
    std::string bytes = slurp(folder + "/" + (*it)[3].str());
    inputs.push_back(torch::from_blob(bytes.data(), shape, dtype_of((*it)[2])).clone());
  }
  return inputs;
}

void answer(torch::jit::script::Module& policy, const std::string& folder) {
  const std::string job = slurp(folder + "/job.json");
  const auto answers = policy.forward(inputs_of(folder, job)).toTuple();
  const std::vector<std::string> names = words(match(job, "\"outputs\": \\[([^\\]]*)\\]"));

  std::ofstream list(folder + "/outputs.json");
  list << "[";
  for (size_t i = 0; i < names.size(); ++i) {
    torch::Tensor answer = answers->elements().at(i).toTensor().contiguous();
    std::ofstream(folder + "/out" + std::to_string(i), std::ios::binary)
        .write(static_cast<const char*>(answer.data_ptr()), static_cast<std::streamsize>(answer.nbytes()));
    list << (i ? ", " : "") << "{\"name\": \"" << names[i] << "\", \"dtype\": \"" << dtype_name(answer.scalar_type())
         << "\", \"file\": \"out" << i << "\", \"shape\": [";
    for (int64_t d = 0; d < answer.dim(); ++d) list << (d ? ", " : "") << answer.size(d);
    list << "]}";
  }
  list << "]";
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) throw std::runtime_error("usage: run_policy MODEL");
  at::set_num_threads(1);
  torch::NoGradGuard no_grad;
  torch::jit::script::Module policy = torch::jit::load(argv[1]);
  for (std::string folder; std::getline(std::cin, folder);) {
    answer(policy, folder);
    std::cout << "done" << std::endl;
  }
  return 0;
} catch (const std::exception& error) {
  std::cerr << "error: " << error.what() << "\n";
  return 1;
}
