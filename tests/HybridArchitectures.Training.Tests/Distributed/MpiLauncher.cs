using System.Diagnostics;

namespace HybridArchitectures.Training.Tests.Distributed;

/// <summary>Starts the program RankedRun on several processes by the mpirun of Open MPI or MPICH.</summary>
sealed class MpiLauncher
{
    static readonly string Program = Path.GetFullPath(
        Path.Combine(AppContext.BaseDirectory, "../../../../RankedRun/bin", new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name, "net10.0",
        "RankedRun.dll"));

    static readonly TimeSpan Limit = TimeSpan.FromSeconds(300);

    readonly string command;
    readonly string[] arguments;

    MpiLauncher(string command, params string[] arguments) => (this.command, this.arguments) = (command, arguments);

    /// <summary>Returns the launcher of Open MPI. The test is skipped if it is not installed.</summary>
    public static MpiLauncher OpenMpi() => Find("Open MPI", ["mpirun.openmpi", "mpirun"], "Open MPI", "--bind-to", "none");

    /// <summary>Returns the launcher of MPICH. The test is skipped if it is not installed.</summary>
    public static MpiLauncher Mpich() => Find("MPICH", ["mpirun.mpich", "mpirun"], "HYDRA");

    /// <summary>Returns a launcher that starts one process without mpirun, with variables NAME=VALUE.</summary>
    public static MpiLauncher Alone(params string[] variables)
    {
        _ = OpenMpi();
        return new("env", variables) { isAlone = true };
    }

    bool isAlone;

    static MpiLauncher Find(string name, string[] commands, string says, params string[] arguments)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "the launchers of MPI differ on other systems");
        foreach (string command in commands)
            if (Version(command).Contains(says, StringComparison.OrdinalIgnoreCase)) return new(command, arguments);
        Assert.SkipWhen(Environment.GetEnvironmentVariable("HYBRID_REQUIRE_MPI") != "1" || name != "Open MPI", $"{name} is not installed");
        throw new InvalidOperationException($"{name} is not installed, but HYBRID_REQUIRE_MPI is 1");
    }

    static string Version(string command)
    {
        try
        {
            var start = new ProcessStartInfo(command, ["--version"]) { RedirectStandardOutput = true, RedirectStandardError = true };
            using var process = Process.Start(start)!;
            string text = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return text;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return "";
        }
    }

    /// <summary>Runs the program, and returns the exit code and the lines of all ranks.</summary>
    public async Task<(int ExitCode, string[] Lines)> Run(int ranks, params string[] given)
    {
        Assert.True(File.Exists(Program), $"no program '{Program}'; the build of this project makes it");
        var start = new ProcessStartInfo(command, [.. arguments, .. isAlone ? (string[])[] : ["-n", $"{ranks}"], "dotnet", Program, .. given])
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        };
        foreach (var (name, value) in Variables) start.Environment[name] = value;
        using var process = Process.Start(start)!;
        using var limit = new CancellationTokenSource(Limit);
        using var registration = limit.Token.Register(() => process.Kill(entireProcessTree: true));
        var errors = process.StandardError.ReadToEndAsync(CancellationToken.None);
        string text = await process.StandardOutput.ReadToEndAsync(CancellationToken.None);
        await process.WaitForExitAsync(CancellationToken.None);
        Assert.False(limit.IsCancellationRequested, $"{command} has not ended in {Limit}: {text}{await errors}");
        return (process.ExitCode, [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries), .. (await errors).Split('\n')]);
    }

    // the life of a rank is too short to compile a method twice
    // a container has one user, few processors, and forbids a rank to read the memory of another
    static readonly (string, string)[] Variables =
    [
        ("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"), ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
        ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"), ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
        ("OMP_NUM_THREADS", "1"), ("DOTNET_TieredPGO", "0"), ("DOTNET_TC_CallCountThreshold", "20000"),
        ("TERM", "dumb"),
    ];
}
