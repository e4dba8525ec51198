using System.Diagnostics;

namespace HybridArchitectures.Kernels.Tests.Cuda;

/// <summary>Finds the C++ compilers of this machine.</summary>
static class CppCompiler
{
    /// <summary>Gets the folder of the headers and of the emulated driver.</summary>
    public static string Headers { get; } = Path.Combine(AppContext.BaseDirectory, "Cuda", "Emulation");

    /// <summary>Gets a compiler for the emulation. g++ comes first: clang takes two to four times as long for the kernels.</summary>
    public static string? Cpp { get; } = First("g++", "clang++-19", "clang++");

    /// <summary>Gets a clang that compiles CUDA to PTX, or null. Newer versions do as well.</summary>
    public static string? Ptx { get; } = First("clang-19", "clang-20", "clang-21");

    /// <summary>Skips a test if there is no compiler, or fails it if HYBRID_REQUIRE_COMPILER is 1.</summary>
    public static void IsNeeded(string? compiler, string otherwise)
    {
        if (compiler is not null) return;
        Assert.False(Environment.GetEnvironmentVariable("HYBRID_REQUIRE_COMPILER") == "1", otherwise);
        Assert.Skip(otherwise);
    }

    public static (int Code, string Output) Run(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardError = true, RedirectStandardOutput = true };
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        string errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output.Result + errors);
    }

    static string? First(params string[] names) =>
        names.FirstOrDefault(name => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
            .Any(folder => File.Exists(Path.Combine(folder, name))));
}
