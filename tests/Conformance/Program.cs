using HybridArchitectures.Conformance;

if (args is ["export", var source, var target] && Directory.Exists(source)) return ConformanceExport.Run(Path.GetFullPath(source), Path.GetFullPath(target));
if (args is not [var root] || !Directory.Exists(root))
{
    Console.Error.WriteLine(args.Length == 1 ? $"no folder '{args[0]}'" : "usage: Conformance FOLDER (every case folder under it is run), or Conformance export FOLDER TARGET (its checkpoints are written anew)");
    return 2;
}
int cases = 0, passed = 0, failed = 0;
foreach (string folder in ConformanceRunner.Find(Path.GetFullPath(root)))
{
    cases++;
    foreach (var result in ConformanceRunner.Run(folder))
    {
        Console.WriteLine(result);
        if (result.Message is { } message) Console.Error.WriteLine($"  {result.Case} {result.Kind}: {message}");
        if (result.Passes) passed++;
        else failed++;
    }
}
Console.WriteLine($"{cases} cases, {passed} passed, {failed} failed");
if (cases == 0) Console.Error.WriteLine($"no case folder (notes.json, expected.safetensors or cases.json) under '{root}'");
return cases > 0 && failed == 0 ? 0 : 1;
