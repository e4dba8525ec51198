using System.Diagnostics;
using System.Runtime.InteropServices;
using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Tests.Runtime;

public sealed class CorrectedCopyTests : IDisposable
{
    static readonly byte[] Library = [.. Enumerable.Range(0, 100_000).Select(i => (byte)(i * 7))];

    readonly string folder = Directory.CreateTempSubdirectory("copy-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    static void SkipUnlessLinux() => Assert.SkipUnless(OperatingSystem.IsLinux(), "the copy is made on Linux alone");

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Loaded_values_are_those_written_and_no_file_remains(bool memory)
    {
        SkipUnlessLinux();
        byte[]? loaded = null;
        Assert.Equal(5, CorrectedCopy.Load(Library, "lib.so", [memory ? CorrectedCopy.Memory : folder], path =>
        {
            // a file that another process puts in its place under any name is not reached
            foreach (var file in Directory.GetFiles(folder))
            {
                File.Delete(file);
                File.WriteAllText(file, "foreign");
            }
            loaded = File.ReadAllBytes(path);
            return 5;
        }));
        Assert.Equal(Library, loaded);
        Assert.Empty(Directory.GetFiles(folder));
    }

    [Fact]
    public void A_folder_that_refuses_is_followed_by_the_next()
    {
        SkipUnlessLinux();
        var file = Path.Combine(folder, "file");
        File.WriteAllText(file, "no folder");
        int attempts = 0;
        Assert.Equal(2, CorrectedCopy.Load(
            Library, "lib.so", [CorrectedCopy.Memory, file, folder], _ =>
            ++attempts == 1 ? throw new DllNotFoundException("no execution") : attempts));
    }

    [Fact]
    public void A_file_system_without_execution_is_followed_by_the_next_folder()
    {
        SkipUnlessLinux();
        var place = Directory.CreateDirectory(Path.Combine(folder, "mounted")).FullName;
        Assert.SkipUnless(Run("mount", "-t", "tmpfs", "-o", "noexec", "none", place), "no file system can be mounted here");
        try
        {
            LoadsElsewhere(place);
        }
        finally
        {
            Run("umount", "-l", place);
        }
    }

    void LoadsElsewhere(string place)
    {
        // a library of the runtime's own: a second copy of it does no harm
        var name = "libSystem.IO.Compression.Native.so";
        var bytes = File.ReadAllBytes(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), name));
        var error = Assert.Throws<DllNotFoundException>(() => CorrectedCopy.Load(bytes, name, [place], NativeLibrary.Load));
        Assert.Contains("noexec", error.Message);
        Assert.NotEqual(0, CorrectedCopy.Load(bytes, name, [place, folder], NativeLibrary.Load));
    }

    static bool Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
        process.StandardError.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0;
    }

    [Fact]
    public void If_all_folders_refuse_the_message_names_each_and_the_remedy()
    {
        SkipUnlessLinux();
        var error = Assert.Throws<DllNotFoundException>(() =>
            CorrectedCopy.Load(Library, "lib.so", [CorrectedCopy.Memory, folder], _ => throw new DllNotFoundException("failed to map segment")));
        Assert.Contains("memory (failed to map segment)", error.Message);
        Assert.Contains($"{folder} (failed to map segment)", error.Message);
        Assert.Contains("HYBRID_CACHE_PATH", error.Message);
        Assert.Empty(Directory.GetFiles(folder));
    }
}
