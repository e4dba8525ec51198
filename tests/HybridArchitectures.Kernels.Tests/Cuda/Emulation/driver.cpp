// Answers the CUDA driver's and NVRTC's entry points on a machine without a GPU: "compiling" runs a C++ compiler over the kernel source behind emulation.hpp,
// the "image" is the library that comes out, and a launch runs it. EMULATION_COMPILER, with its options, and EMULATION_FOLDER, which holds emulation.hpp
// and this library (driver.so), are given when this is compiled. The image needs nothing of the standard library but functions
// of mathematics; linking the rest would take longer than many kernels.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <sstream>
#include <string>
#include <unistd.h>
#include <vector>

using Kernel = void (*)(void**);
struct Module { void* library; };
struct Function { Kernel kernel; };
struct Program { std::string name, source, log, image; std::vector<std::pair<std::string, std::string>> headers; };

static int capability = 90, backwards = 0, multiprocessors = 4, compilations = 0;
static void* context = nullptr;

static std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary); std::stringstream text; text << file.rdbuf(); return text.str();
}
static void write(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }
// Most kernels run for less time than g++ takes to optimize them: with -Og it takes two thirds of the time of -O1. Fused attention runs for longer.
static const char* optimization(const std::string& name) { return name == "AttentionForward.cu" || name == "AttentionBackward.cu" ? " -O1" : " -Og"; }

extern "C" {
void emulation_launch(Kernel, void**, unsigned x, unsigned y, unsigned z, unsigned threads, size_t shared_bytes, int backwards);   // runtime.cpp
void emulation_set(int newCapability, int newBackwards, int newMultiprocessors) {
    capability = newCapability; backwards = newBackwards; multiprocessors = newMultiprocessors;
}
int emulation_compilations() { return compilations; }

int cuInit(unsigned) { return 0; }
int cuGetErrorString(int code, const char** text) { *text = code == 200 ? "device kernel image is invalid" : code == 201 ? "invalid device context" : "an error"; return 0; }
int cuDeviceGet(int* device, int index) { *device = index; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int) { *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : attribute == 16 ? multiprocessors : attribute == 97 ? (capability / 10 == 8 && capability > 80 ? 99 : 227) * 1024 : 0; return 0; }
int cuDevicePrimaryCtxRetain(void** result, int device) { *result = reinterpret_cast<void*>(1L + device); return 0; }
int cuCtxGetCurrent(void** result) { *result = context; return 0; }
int cuCtxSetCurrent(void* value) { context = value; return 0; }
int cuModuleLoadData(void** result, const void* image) {
    // like the driver, it is told no length: the image begins with it
    size_t size; memcpy(&size, image, sizeof(size));
    if (size < 64 || memcmp(static_cast<const char*>(image) + sizeof(size), "\x7f" "ELF", 4)) return 200;
    char path[] = "/tmp/emulationXXXXXX"; int file = mkstemp(path);
    bool written = ::write(file, static_cast<const char*>(image) + sizeof(size), size) == static_cast<ssize_t>(size);
    close(file);
    void* library = written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
    unlink(path);
    if (!library) return 200;
    *result = new Module{library};
    return 0;
}
int cuModuleUnload(void* module) { delete static_cast<Module*>(module); return 0; }
int cuModuleGetFunction(void** result, void* module, const char* name) {
    auto* from = static_cast<Module*>(module);
    auto kernel = reinterpret_cast<Kernel>(dlsym(from->library, name));
    if (!kernel) return 500;
    *result = new Function{kernel};
    return 0;
}
int cuFuncSetAttribute(void*, int, int bytes) { return bytes > 227 * 1024; }
int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned, unsigned shared, void*, void** arguments, void**) {
    if (!context) return 201;
    if (y > 65535 || z > 65535 || threads > 1024 || shared > 227 * 1024) return 1;
    auto* from = static_cast<Function*>(function);
    emulation_launch(from->kernel, arguments, x, y, z, threads, shared, backwards);
    return 0;
}
// what emulation::copy_tile (three sizes) and copy_head (four) read: the address, the sizes, the strides but the innermost
int cuTensorMapEncodeTiled(void* map, int, unsigned rank, void* address, const unsigned long long* sizes, const unsigned long long* strides, const unsigned* box, const unsigned*, int, int, int, int) {
    if (!context) return 201;
    if ((rank != 3 && rank != 4) || box[0] != 64 || box[rank - 2] != 64 || box[rank - 1] != 1 || reinterpret_cast<size_t>(map) % 64 || reinterpret_cast<size_t>(address) % 16) return 1;
    unsigned long long words[16] = {reinterpret_cast<size_t>(address)};
    for (unsigned i = 0; i < rank; i++) {
        if (sizes[i] == 0 || sizes[i] > 1ull << 32) return 1;
        words[1 + i] = sizes[i];
    }
    for (unsigned i = 0; i + 1 < rank; i++) {
        if (strides[i] % 16 || strides[i] == 0 || strides[i] >= 1ull << 40) return 1;
        words[1 + rank + i] = strides[i];
    }
    memcpy(map, words, sizeof(words));
    return 0;
}

const char* nvrtcGetErrorString(int code) { return code == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR"; }
int nvrtcVersion(int* major, int* minor) { *major = 0; *minor = 1; return 0; }
int nvrtcCreateProgram(void** result, const char* source, const char* name, int count, const char** headers, const char** names) {
    auto* program = new Program{name, source, "", "", {}};
    for (int i = 0; i < count; i++) program->headers.push_back({names[i], headers[i]});
    *result = program;
    return 0;
}
int nvrtcDestroyProgram(void** program) { delete static_cast<Program*>(*program); *program = nullptr; return 0; }
int nvrtcCompileProgram(void* handle, int, const char**) {
    auto* program = static_cast<Program*>(handle);
    compilations++;
    char folder[] = "/tmp/emulationXXXXXX";
    if (!mkdtemp(folder)) return 1;
    std::string at = std::string(folder) + "/";
    for (auto& header : program->headers) write(at + header.first, header.second);
    write(at + program->name, program->source);
    std::string command = "cd " + at + " && " EMULATION_COMPILER + optimization(program->name) + " -x c++ -shared -nostdlib"
        " -include " EMULATION_FOLDER "/emulation.hpp " + program->name + " -x none " EMULATION_FOLDER "/driver.so -lm -o image.so > log 2>&1";
    int code = system(command.c_str());
    program->log = read(at + "log");
    std::string image = read(at + "image.so");
    size_t size = image.size();
    program->image = std::string(reinterpret_cast<char*>(&size), sizeof(size)) + image;
    if (system(("rm -rf " + at).c_str())) return 1;
    return code ? 6 : 0;
}
int nvrtcGetProgramLogSize(void* program, size_t* size) { *size = static_cast<Program*>(program)->log.size() + 1; return 0; }
int nvrtcGetProgramLog(void* program, char* log) { strcpy(log, static_cast<Program*>(program)->log.c_str()); return 0; }
int nvrtcGetCUBINSize(void* program, size_t* size) { *size = static_cast<Program*>(program)->image.size(); return 0; }
int nvrtcGetCUBIN(void* program, char* image) { auto& from = static_cast<Program*>(program)->image; memcpy(image, from.data(), from.size()); return 0; }
}
