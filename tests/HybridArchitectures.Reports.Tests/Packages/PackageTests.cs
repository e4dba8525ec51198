using System.IO.Compression;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using HybridArchitectures.Training.Running;

namespace HybridArchitectures.Reports.Tests.Packages;

public partial class PackageTests(PackedPackages packages) : IClassFixture<PackedPackages>
{
    const string TutorialSteps = "Duration.Steps(300)";

    // the types that programs use most; each shows in an example how
    static readonly string[] MostUsed =
        ["Design.HybridDesign", "Design.HybridDesignBuilder", "Design.AttentionSpec", "Design.Mamba2Spec", "Design.FeedForwardSpec",
        "Design.IntraHybridSpec", "Design.Recipes", "Cost.DesignCost", "Review.DesignReview", "Models.HybridLanguageModel", "Sequence.HybridCache",
        "Checkpoints.Checkpoint", "Checkpoints.PretrainedModel", "Tokenization.ByteTokenizer", "Generation.TextGenerator", "Chat.HybridChatClient",
        "Adapters.LoraAdapters", "Verification.DesignVerifier", "Training.Data.TokenDataset", "Training.Data.TokenShards",
        "Training.Running.Trainer", "Training.Running.TrainingOptions", "Training.Running.Duration", "Training.Running.Evaluator",
        "Reports.Page.RunReport", "Evaluation.Sweeps.Sweep"];

    public static TheoryData<string> Names => [.. PackedPackages.Names];

    [Fact]
    public void The_printed_command_packs_the_libraries_and_nothing_else()
    {
        var packed = Directory.GetFiles(packages.Feed, "*.nupkg").Select(path => Path.GetFileName(path)!.Replace($".{packages.Version}.nupkg", ""));
        // the tool contains libtorch and is packed on request only
        Assert.Equal(PackedPackages.Names, packed.Order(StringComparer.Ordinal));
        Assert.Contains("\ndotnet pack -c Release ",
            File.ReadAllText(Path.Combine(Repository.Root, "README.md")).ReplaceLineEndings("\n"));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void A_package_brings_its_readme_docs_symbols_and_licence(string name)
    {
        using var package = ZipFile.OpenRead(packages.File(name));
        var files = package.Entries.Select(entry => entry.FullName).ToArray();
        Assert.Contains("README.md", files);
        Assert.Contains($"lib/net10.0/{name}.dll", files);
        Assert.Contains($"lib/net10.0/{name}.xml", files);
        using var symbols = ZipFile.OpenRead(packages.File(name, "snupkg"));
        Assert.Contains($"lib/net10.0/{name}.pdb", symbols.Entries.Select(entry => entry.FullName));
        Assert.Equal("MIT", Value(package, "license"));
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void A_package_names_its_project_its_icon_and_its_changes(string name)
    {
        using var package = ZipFile.OpenRead(packages.File(name));
        Assert.Equal(PackedPackages.RepositoryUrl, Value(package, "projectUrl"));
        Assert.NotNull(package.GetEntry(Value(package, "icon")));
        var changelog = File.ReadAllText(Path.Combine(Repository.Root, "CHANGELOG.md")).ReplaceLineEndings("\n");
        var notes = Value(package, "releaseNotes").ReplaceLineEndings("\n");
        Assert.StartsWith("## [", notes);
        Assert.Contains(notes, changelog);
        Assert.True(notes.Length < 35_000, $"the release notes have {notes.Length} characters; nuget.org takes 35,000");
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void A_package_picks_no_libtorch_for_its_user(string name)
    {
        using var package = ZipFile.OpenRead(packages.File(name));
        var dependencies = Dependencies(package).ToDictionary(element => (string)element.Attribute("id")!, StringComparer.OrdinalIgnoreCase);
        Assert.DoesNotContain(dependencies.Keys,
            id => id.ToUpperInvariant() is var upper && (upper.StartsWith("TORCHSHARP-") || upper.StartsWith("LIBTORCH")));
        Assert.DoesNotContain("MinVer", dependencies.Keys);
        foreach (var (id, dependency) in dependencies)
            if (PackedPackages.Names.Contains(id)) Assert.Equal(packages.Version, (string?)dependency.Attribute("version"));
    }

    [Fact]
    public void The_loader_flows_to_programs_that_refer_to_it_indirectly()
    {
        using var package = ZipFile.OpenRead(packages.File("HybridArchitectures.Kernels"));
        Assert.Contains("buildTransitive/HybridArchitectures.Kernels.targets", package.Entries.Select(entry => entry.FullName));
        foreach (var name in PackedPackages.Names)
        {
            using var above = ZipFile.OpenRead(packages.File(name));
            foreach (var dependency in Dependencies(above).Where(element => PackedPackages.Names.Contains((string)element.Attribute("id")!)))
                Assert.Equal("All", (string?)dependency.Attribute("include"));
        }
    }

    [Fact]
    public void The_analyzer_travels_with_the_kernels_and_is_no_dependency()
    {
        using var package = ZipFile.OpenRead(packages.File("HybridArchitectures.Kernels"));
        Assert.Contains("analyzers/dotnet/cs/HybridArchitectures.Analyzers.dll", package.Entries.Select(entry => entry.FullName));
        Assert.DoesNotContain(Dependencies(package),
            element => (string)element.Attribute("id")! is "HybridArchitectures.Analyzers" or "Microsoft.CodeAnalysis.CSharp");
    }

    [Fact]
    public void The_font_travels_with_its_licence()
    {
        using var package = ZipFile.OpenRead(packages.File("HybridArchitectures.Reports"));
        using var licence = new StreamReader(package.GetEntry("licenses/Inter-OFL.txt")!.Open());
        Assert.Contains("SIL OPEN FONT LICENSE", licence.ReadToEnd());
    }

    [Fact]
    public async Task A_program_that_starts_with_TorchSharp_and_the_examples_of_the_READMEs_run_on_the_installed_packages()
    {
        Write("nuget.config", Configuration(packages.Feed, packages.Cache, "../installed"));
        Write("Scratch.csproj", """
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <Nullable>enable</Nullable>
                <ImplicitUsings>enable</ImplicitUsings>
              </PropertyGroup>
            </Project>
            """);
        var root = Repository.Root;
        var pages = PackedPackages.Names.ToDictionary(name => name, name => File.ReadAllText(Path.Combine(root, "src", name, "README.md")));
        pages["Root"] = File.ReadAllText(Path.Combine(root, "README.md"));
        var docs = Path.Combine(root, "docs");
        foreach (var page in Directory.GetFiles(docs, "*.md", SearchOption.AllDirectories))
            pages[$"Docs/{Path.GetRelativePath(docs, page)}"] = File.ReadAllText(page);
        // the tutorial trains for minutes; here a few steps show that it runs
        Assert.Contains(TutorialSteps, pages["Docs/tutorial.md"]);
        pages["Docs/tutorial.md"] = pages["Docs/tutorial.md"].Replace(TutorialSteps, "Duration.Steps(4)");
        var documentation = PackedPackages.Names.Select(name => XmlExamples.Read(packages.File(name), name)).ToArray();
        var examples = documentation.SelectMany(package => package.Examples).ToDictionary();
        Assert.Empty(MostUsed.Select(type => $"T:HybridArchitectures.{type}").Except(examples.Keys));
        foreach (var (name, text) in ScratchProgram.Files(pages, examples, documentation.SelectMany(package => package.Namespaces)))
            Write(name, text);
        await Install(pages["Root"]);
        var said = await Dotnet.Run(packages.Scratch, "run", "-c", "Release");
        Assert.EndsWith(ScratchProgram.LastWords, said.TrimEnd());
        Assert.True(File.Exists(Path.Combine(packages.Scratch, "report", "index.html")), said);
        Assert.Equal(PackedPackages.Names.Length,
            Directory.GetDirectories(Path.Combine(packages.Scratch, "../installed"), "hybridarchitectures*").Length);
    }

    [Fact]
    public async Task The_file_based_program_of_the_README_runs_on_the_installed_packages()
    {
        var folder = Path.Combine(packages.Scratch, "../study");
        Directory.CreateDirectory(folder);
        File.WriteAllText(Path.Combine(folder, "nuget.config"), Configuration(packages.Feed, packages.Cache, "../installed"));
        var readme = File.ReadAllText(Path.Combine(Repository.Root, "README.md"));
        var program = ScratchProgram.FileBased(readme);
        Assert.Contains("#:package HybridArchitectures.Reports@*-*", program);
        File.WriteAllText(Path.Combine(folder, "study.cs"), program.Replace("@*-*", $"@{packages.Version}"));
        // by default, the build stays in the user's folder: more than a gigabyte for each run of this test
        var said = await Dotnet.Run(folder, "run", "study.cs", $"-p:ArtifactsPath={Path.GetFullPath(Path.Combine(folder, "artifacts"))}");
        Assert.Contains("bits per byte on held-out text", said);
        foreach (string file in new[] { "shards/shards.json", "runs/sums/step-00000060/training.json", "report/index.html", "report/report.json" })
            Assert.True(File.Exists(Path.Combine(folder, file)), $"no {file}; the program said:\n{said}");
    }

    // the printed commands; the program needs the package that brings all others, and the next restore is that of the build
    async Task Install(string readme)
    {
        var commands = InstallCommand().Matches(readme).Select(match => match.Groups[1].Value.Trim().Split(' ')).ToArray();
        string[][] expected =
        [
            ["add", "package", "HybridArchitectures.Training", "--prerelease"],
            ["add", "package", "TorchSharp-cpu", "--version", "0.107.0"],
        ];
        Assert.Equal(expected, commands);
        commands[0][2] = "HybridArchitectures.Reports";
        await Dotnet.Run(packages.Scratch, commands[0]);
        await Dotnet.Run(packages.Scratch, [.. commands[1], "--no-restore"]);
        Assert.Contains($"Version=\"{packages.Version}\"", File.ReadAllText(Path.Combine(packages.Scratch, "Scratch.csproj")));
    }

    [GeneratedRegex("^dotnet (add package [^#\n]*)", RegexOptions.Multiline)]
    private static partial Regex InstallCommand();

    // the packages of this repository go to a separate folder; everything else comes from the package folder of this machine
    static string Configuration(string feed, string cache, string installed) => $"""
        <configuration>
          <config><add key="globalPackagesFolder" value="{installed}" /></config>
          <packageSources><add key="packed" value="{feed}" /></packageSources>
          <fallbackPackageFolders><add key="cache" value="{cache}" /></fallbackPackageFolders>
        </configuration>
        """;

    void Write(string name, string text) => File.WriteAllText(Path.Combine(packages.Scratch, name), text);

    static IEnumerable<XElement> Dependencies(ZipArchive package) =>
        Manifest(package).Descendants().Where(element => element.Name.LocalName == "dependency");

    static string Value(ZipArchive package, string element) => Manifest(package).Descendants().Single(child => child.Name.LocalName == element).Value;

    static XDocument Manifest(ZipArchive package)
    {
        using var manifest = package.Entries.Single(entry => entry.FullName.EndsWith(".nuspec", StringComparison.Ordinal)).Open();
        return XDocument.Load(manifest);
    }
}
