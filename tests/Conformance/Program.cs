using HybridArchitectures.Conformance;
using static TorchSharp.torch;

const string usage = """
    usage: Conformance FOLDER [--device cpu|cuda|cuda:N]          runs every case folder under it, and compares on the CPU
           Conformance verify FOLDER [--device cpu|cuda|cuda:N]   verifies chunks, steps, padding, packing and caches of every checkpoint under it
           Conformance export FOLDER TARGET                       writes its checkpoints again
           Conformance export-adapters FOLDER TARGET              writes adapters for its checkpoints
           Conformance adapters FOLDER                            reads the adapters that check_adapters.py left there
    """;

var words = args.ToList();
string where = "cpu";
int option = words.IndexOf("--device");
if (option >= 0 && option + 1 < words.Count)
{
    where = words[option + 1];
    words.RemoveRange(option, 2);
}
// -1 means the CPU
int gpu = where == "cuda" ? 0 : where.StartsWith("cuda:", StringComparison.Ordinal) && int.TryParse(where[5..], out int number) ? number : -1;
string? command = words is ["verify" or "export" or "export-adapters" or "adapters", _, ..] ? words[0] : null;
if (command is not null) words.RemoveAt(0);
bool isWriting = command is "export" or "export-adapters";
if (words.Count != (isWriting ? 2 : 1) || (where != "cpu" && gpu < 0) || ((isWriting || command == "adapters") && where != "cpu"))
{
    Console.Error.WriteLine(usage);
    return 2;
}
string root = words[0];
if (!Directory.Exists(root))
{
    Console.Error.WriteLine($"no folder '{root}'");
    return 2;
}
if (gpu >= 0 && (!cuda.is_available() || gpu >= cuda.device_count()))
{
    Console.Error.WriteLine($"--device {where} is asked for, and libtorch finds {(cuda.is_available() ? cuda.device_count() : 0)} CUDA devices");
    return 2;
}
root = Path.GetFullPath(root);
if (command == "export") return ConformanceExport.Run(root, Path.GetFullPath(words[1]));
if (command == "export-adapters") return ConformanceAdapters.Export(root, Path.GetFullPath(words[1]));
if (command == "adapters") return ConformanceAdapters.Read(root);
// products in float32 are to be products of float32
backends.cuda.matmul.allow_tf32 = false;
backends.cudnn.allow_tf32 = false;
using var chosen = new ChosenBackends();
int cases = 0, passed = 0, failed = 0;
foreach (string folder in ConformanceRunner.Find(root).Where(folder => command is null || ConformanceCase.Is(folder)))
{
    cases++;
    foreach (var result in command is null ? ConformanceRunner.Run(folder, device(where)) : ConformanceVerification.Run(folder, device(where)))
    {
        Console.WriteLine(result);
        if (result.Message is { } message) Console.Error.WriteLine($"  {result.Case} {result.Kind}: {message}");
        if (result.Passes) passed++;
        else failed++;
    }
}
Console.WriteLine($"{cases} cases, {passed} passed, {failed} failed");
Console.Error.WriteLine($"device: {where}; back ends: {chosen}");
if (cases == 0) Console.Error.WriteLine($"no case folder (notes.json, expected.safetensors or cases.json) under '{root}'");
return cases > 0 && failed == 0 ? 0 : 1;
