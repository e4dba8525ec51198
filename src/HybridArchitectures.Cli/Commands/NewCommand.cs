using System.CommandLine;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;
using HybridArchitectures.Storage;

namespace HybridArchitectures.Cli.Commands;

/// <summary><c>hybrid new</c>: writes an example of a design file, a sweep file or a project.</summary>
static class NewCommand
{
    public static Command Create()
    {
        var path = new Argument<string>("path") { Description = "The file (for a project, the folder) to write. It must not exist." };
        var kind = new Option<string>("--kind") { Description = "The kind: design, sweep or project.", DefaultValueFactory = _ => "design" };
        kind.AcceptOnlyFromAmong("design", "sweep", "project");
        var design = new Option<string>("--design")
        {
            Description = DesignArgument.Description,
            DefaultValueFactory = _ => "MMTM:width=128,vocabulary=256,heads=4,state=16,head=32,feed=256",
        };
        var command = GuardedCommand.Create("new", "Writes an example of a design file, a sweep file or a project.", "sweep.yaml --kind sweep");
        command.Add(path);
        command.Add(kind);
        command.Add(design);
        command.SetGuardedAction(parsed => Run(parsed.GetValue(path)!, parsed.GetValue(kind)!, parsed.GetValue(design)!));
        return command;
    }

    static int Run(string path, string kind, string design)
    {
        if (File.Exists(path) || Directory.Exists(path)) throw Require.Unfit("path", $"path is '{path}', which exists", "a new name");
        if (kind == "project") WriteProject(path, design);
        else
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            AtomicWrite.Text(path, kind == "sweep" ? SweepFile.IsYaml(path) ? SweepFile.YamlExample : SweepFile.Example
                : DesignArgument.Parse(design).ToJson() + "\n");
        }
        string next = kind switch
        {
            "sweep" => $"hybrid sweep {path}",
            "project" => $"dotnet run -c Release --project {path}",
            _ => $"hybrid review {path}",
        };
        Terminal.Line($"wrote {path}; next: {next}");
        return ExitCode.Success;
    }

    static void WriteProject(string folder, string design)
    {
        Directory.CreateDirectory(folder);
        string name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));
        AtomicWrite.Text(Path.Combine(folder, "design.json"), DesignArgument.Parse(design).ToJson() + "\n");
        AtomicWrite.Text(Path.Combine(folder, $"{name}.csproj"), """
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup>
                <OutputType>Exe</OutputType>
                <TargetFramework>net10.0</TargetFramework>
                <ImplicitUsings>enable</ImplicitUsings>
                <Nullable>enable</Nullable>
              </PropertyGroup>
              <ItemGroup>
                <PackageReference Include="HybridArchitectures.Training" Version="*" />
                <PackageReference Include="TorchSharp-cpu" Version="[0.107.0]" />
                <None Include="design.json" CopyToOutputDirectory="PreserveNewest" />
              </ItemGroup>
            </Project>

            """);
        AtomicWrite.Text(Path.Combine(folder, "Program.cs"), """
            using HybridArchitectures.Design;
            using HybridArchitectures.Models;
            using HybridArchitectures.Training.Data;
            using HybridArchitectures.Training.Running;

            var design = HybridDesign.FromJson(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "design.json")));
            var corpus = DocumentationCorpus.Load();
            using var training = TokenDataset.FromBytes(corpus.Training);
            using var heldOut = TokenDataset.FromBytes(corpus.HeldOut);
            using var model = design.CreateModel(seed: 1);
            var options = new TrainingOptions { LearningRate = 3e-3, ContextLength = 256, BatchSize = 8, Duration = Duration.Steps(200) };
            using var trainer = new Trainer(model, training, options, heldOut);
            trainer.Run(new Progress<TrainingProgress>(report => Console.WriteLine($"step {report.Step}, loss {report.Loss:0.000}")));

            """);
    }
}
