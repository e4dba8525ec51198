using System.Reflection;

namespace HybridArchitectures.Reports.Tests.Packages;

/// <summary>Packs the packages of this repository once from the build of this test run, with a separate version.</summary>
public sealed class PackedPackages : IAsyncLifetime
{
    public static readonly string[] Names =
        ["HybridArchitectures", "HybridArchitectures.Evaluation", "HybridArchitectures.Kernels", "HybridArchitectures.Reports",
        "HybridArchitectures.Training"];

    /// <summary>Specifies the URL of the repository for checkouts without a remote.</summary>
    public const string RepositoryUrl = "https://example.org/hybrid-architectures";

    readonly TemporaryFolder folder = new();

    /// <summary>Gets a version that no cache contains.</summary>
    public string Version { get; } = $"0.0.1-test.{DateTime.UtcNow:yyyyMMddHHmmss}.{Random.Shared.Next(1_000_000)}";

    /// <summary>Gets the folder of the .nupkg and .snupkg files.</summary>
    public string Feed => Path.Combine(folder.Path, "feed");

    /// <summary>Gets a folder for the project of a user, outside the repository.</summary>
    public string Scratch => Path.Combine(folder.Path, "scratch");

    public string File(string name, string kind = "nupkg") => Path.Combine(Feed, $"{name}.{Version}.{kind}");

    public async ValueTask InitializeAsync()
    {
        Directory.CreateDirectory(Feed);
        Directory.CreateDirectory(Scratch);
        var configuration = typeof(PackedPackages).Assembly.GetCustomAttribute<AssemblyConfigurationAttribute>()!.Configuration;
        // the printed command, over what is built
        await Dotnet.Run(Repository.Root, "pack", "-c", configuration, "--no-build", $"-p:PackageOutputPath={Feed}",
            $"-p:MinVerVersionOverride={Version}", $"-p:RepositoryUrl={RepositoryUrl}");
        Cache = (await Dotnet.Run(Scratch, "nuget", "locals", "global-packages", "--list")).Split(':', 2)[1].Trim();
    }

    /// <summary>Gets the package folder of this machine.</summary>
    public string Cache { get; private set; } = "";

    public ValueTask DisposeAsync()
    {
        folder.Dispose();
        return ValueTask.CompletedTask;
    }
}
