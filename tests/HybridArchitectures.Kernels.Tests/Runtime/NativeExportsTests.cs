using System.Reflection;
using System.Runtime.InteropServices;
using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Tests.Runtime;

public class NativeExportsTests
{
    static readonly (string Library, string Name)[] Imports =
    [
        .. typeof(TorchLibrary).Assembly.GetTypes()
            .SelectMany(type => type.GetMethods(BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly))
            .Select(method => (Method: method, Import: method.GetCustomAttribute<DllImportAttribute>()))
            .Where(item => item.Import is not null)
            .Select(item => (item.Import!.Value, item.Import.EntryPoint ?? item.Method.Name)).Distinct(),
    ];

    [Theory]
    [InlineData("linux-x64", "lib{0}.so", NativeNames.TorchCpu)]
    [InlineData("linux-x64", "lib{0}.so", NativeNames.TorchSharp)]
    [InlineData("win-x64", "{0}.dll", NativeNames.TorchCpu)]
    [InlineData("win-x64", "{0}.dll", NativeNames.TorchSharp)]
    [InlineData("osx-arm64", "lib{0}.dylib", NativeNames.TorchCpu)]
    [InlineData("osx-arm64", "lib{0}.dylib", NativeNames.TorchSharp)]
    public void Every_required_name_is_exported_on_each_system(string system, string file, string library)
    {
        var path = Path.Combine(AppContext.BaseDirectory, "runtimes", system, "native", string.Format(file, library));
        Assert.SkipUnless(File.Exists(path), $"{path} is not in the packages that were restored");
        bool windows = system == "win-x64";
        // a C++ function is asked for by the name that the system's compiler gives it
        string[] asked = [.. Imports.Where(
            import => import.Library == library && !import.Name.StartsWith(windows ? "_Z" : "?", StringComparison.Ordinal))
            .Select(import => import.Name),
            .. library == NativeNames.TorchCpu ? windows
                ? [FlushedDenormals.WindowsName, TensorStorage.WindowsCpu] : [FlushedDenormals.Name, TensorStorage.Cpu] : Array.Empty<string>()];
        Assert.True(asked.Length > 5);
        Assert.Empty(asked.Except(NativeExports.FromFile(path)));
    }
}
