using System.Diagnostics;
using System.Security.Cryptography;
using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Tests.Runtime;

public sealed class TorchLibraryTests : IDisposable
{
    const string Redistributable = "https://aka.ms/vs/17/release/vc_redist.x64.exe";

    static readonly string Probe =
        Path.GetFullPath(Path.Combine(
        AppContext.BaseDirectory, "../../../../NativeProbe/bin", new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name, "net10.0"));
    static readonly bool HasProbe = File.Exists(Path.Combine(Probe, "NativeProbe.dll"));
    const string NoProbe = "the probe program is not in the folder of these tests";

    readonly string folder = Directory.CreateTempSubdirectory("native-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    sealed record Outcome(int Code, string Output, string Errors);

    Task<Outcome> Run(string program, string? torch = null, string? cache = null, params string[] arguments) =>
        Run(program, torch, cache, [], arguments);

    async Task<Outcome> Run(string program, string? torch, string? cache, Dictionary<string, string> environment, string[] arguments)
    {
        var start = new ProcessStartInfo(
            "dotnet", [Path.Combine(program, "NativeProbe.dll"), .. arguments]) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment.Remove(TorchLibrary.PathVariable);
        // with a package cache at hand TorchSharp would look for a libtorch there
        start.Environment["NUGET_PACKAGES"] = folder;
        if (torch is not null) start.Environment[TorchLibrary.PathVariable] = torch;
        start.Environment["HYBRID_CACHE_PATH"] = cache ?? Path.Combine(folder, "cache");
        foreach (var name in OpenMp.Chosen) start.Environment.Remove(name);
        foreach (var (name, value) in environment) start.Environment[name] = value;
        using var process = Process.Start(start)!;
        var (output, errors) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        await process.WaitForExitAsync();
        return new Outcome(process.ExitCode, await output, await errors);
    }

    /// <summary>Returns the probe as a program that does not contain libtorch.</summary>
    string WithoutLibtorch()
    {
        var copy = Directory.CreateDirectory(Path.Combine(folder, "program")).FullName;
        foreach (var file in Directory.EnumerateFiles(Probe).Where(file => !file.EndsWith(".deps.json")))
            File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
        var native = Path.GetFileName(NativeNames.File(NativeNames.TorchSharp));
        File.Copy(Directory.EnumerateFiles(Probe, native, SearchOption.AllDirectories).First(file => file.Contains("linux-x64")),
            Path.Combine(copy, native));
        return copy;
    }

    static void Works(Outcome outcome) =>
        Assert.True(outcome is { Code: 0 } && outcome.Output.Trim() == "sum 3", $"{outcome.Code}: {outcome.Output} {outcome.Errors}");

    [Fact]
    public async Task A_program_may_begin_with_TorchSharp_and_the_original_file_stays_as_it_is()
    {
        Assert.SkipUnless(HasProbe, NoProbe);
        var original = Directory.EnumerateFiles(Probe, NativeNames.File(NativeNames.TorchSharp), SearchOption.AllDirectories).First();
        var before = SHA256.HashData(File.ReadAllBytes(original));
        Works(await Run(Probe));
        Assert.Equal(before, SHA256.HashData(File.ReadAllBytes(original)));
    }

    [Fact]
    public async Task Many_processes_may_start_at_once_over_an_empty_cache()
    {
        Assert.SkipUnless(HasProbe, NoProbe);
        foreach (var outcome in await Task.WhenAll(Enumerable.Range(0, 5).Select(_ => Run(Probe)))) Works(outcome);
        if (Directory.Exists(Path.Combine(folder, "cache")))      // a host with a new libstdc++ needs no copy
            Assert.Single(Directory.EnumerateFiles(Path.Combine(folder, "cache"), "*", SearchOption.AllDirectories));
    }

    [Fact]
    public async Task What_lies_in_the_cache_or_the_temporary_folder_is_neither_loaded_nor_changed()
    {
        Assert.SkipUnless(HasProbe, NoProbe);
        // every name that versions before this one would have taken
        var original = File.ReadAllBytes(
            Directory.EnumerateFiles(Probe, NativeNames.File(NativeNames.TorchSharp), SearchOption.AllDirectories).First());
        ElfVersionNeeds.Weaken(original, ["GLIBCXX_3.4.31", "GLIBCXX_3.4.32"]);
        var hash = Convert.ToHexStringLower(SHA256.HashData(original));
        string[] planted = [.. new[] { "cache", $"HybridArchitectures-{Environment.UserName}" }
            .Select(name => Path.Combine(Directory.CreateDirectory(Path.Combine(folder, name, "native", hash)).FullName,
            NativeNames.File(NativeNames.TorchSharp)))];
        foreach (var file in planted) File.WriteAllText(file, "foreign");
        Works(await Run(Probe, null, null, new() { ["TMPDIR"] = folder }, []));
        Assert.All(planted, file => Assert.Equal("foreign", File.ReadAllText(file)));
        Assert.Equal(planted.Length, Directory.EnumerateFiles(folder, "*.so*", SearchOption.AllDirectories).Count());
    }

    [Theory]
    [InlineData("", "", OpenMp.SpinCount)]
    [InlineData("GOMP_SPINCOUNT", "7", "7")]
    [InlineData("OMP_WAIT_POLICY", "passive", "0")]
    public async Task Threads_of_libtorch_wait_as_long_as_set_unless_the_user_has_set_it(string name, string value, string expected)
    {
        Assert.SkipUnless(HasProbe && OperatingSystem.IsLinux(), NoProbe);
        Dictionary<string, string> environment = new() { ["OMP_DISPLAY_ENV"] = "verbose" };
        if (name.Length > 0) environment[name] = value;
        var outcome = await Run(Probe, null, null, environment, []);
        Works(outcome);
        // what GNU's OpenMP has read when it was loaded
        Assert.Contains($"GOMP_SPINCOUNT = '{expected}'", outcome.Errors);
    }

    [Fact]
    public async Task A_cache_that_cannot_be_written_is_no_obstacle()
    {
        Assert.SkipUnless(HasProbe, NoProbe);
        var file = Path.Combine(folder, "file");
        File.WriteAllText(file, "no folder");
        Works(await Run(Probe, cache: file));
    }

    [Fact]
    public async Task The_variable_provides_a_libtorch_for_a_program_without_one()
    {
        Assert.SkipUnless(HasProbe, NoProbe);
        Works(await Run(WithoutLibtorch(), torch: TorchLibrary.Folder));
    }

    [Fact]
    public async Task Without_any_libtorch_the_message_names_the_remedy()
    {
        Assert.SkipUnless(HasProbe, NoProbe);
        var outcome = await Run(WithoutLibtorch(), arguments: "library");
        Assert.NotEqual(0, outcome.Code);
        Assert.Contains("System.DllNotFoundException: No libtorch is there, so libtorch_cpu.so cannot be loaded.", outcome.Errors);
        Assert.Equal(2, outcome.Errors.Split("libtorch_cpu.so").Length);        // said once
        Assert.Contains("dotnet add package TorchSharp-cpu --version 0.107.0", outcome.Errors);
        Assert.Contains("HYBRID_LIBTORCH_PATH", outcome.Errors);
        // a program that begins with TorchSharp meets TorchSharp's own exception first, with our words in it
        var own = (await Run(Path.Combine(folder, "program"))).Errors;
        Assert.Equal(2, own.Split("dotnet add package TorchSharp-cpu --version 0.107.0").Length);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_libtorch_that_does_not_load_is_distinguished_from_a_missing_one(bool isWindows)
    {
        var message = TorchLibrary.Unloadable(NativeNames.TorchCpu, "/somewhere", "not found.\nand more", isWindows);
        Assert.Contains("of the libtorch in /somewhere cannot be loaded: not found. ", message);
        Assert.Contains(isWindows ? $"Microsoft Visual C++ Redistributable for x64, which no package brings: {Redistributable}" : "ldd ", message);
    }

    [Theory]
    [InlineData("README.md")]
    [InlineData("docs/guides/installation.md")]
    public void The_Redistributable_for_Windows_is_linked_where_requirements_are_listed(string page)
    {
        Assert.Contains($"[Microsoft Visual C++ Redistributable for x64]({Redistributable})", File.ReadAllText(Path.Combine(Repository.Root, page)));
    }

    [Fact]
    public async Task A_variable_with_a_missing_path_is_reported()
    {
        Assert.SkipUnless(HasProbe, NoProbe);
        var outcome = await Run(WithoutLibtorch(), torch: folder, arguments: "library");
        Assert.NotEqual(0, outcome.Code);
        Assert.Contains($"HYBRID_LIBTORCH_PATH is '{folder}', but there is no libtorch_cpu.so in it", outcome.Errors);
    }

    [Fact]
    public async Task Two_libtorches_are_refused_before_either_is_loaded()
    {
        Assert.SkipUnless(HasProbe, NoProbe);
        var outcome = await Run(Probe, torch: folder);
        Assert.NotEqual(0, outcome.Code);
        Assert.Contains("contains its own libtorch", outcome.Errors);
    }
}
