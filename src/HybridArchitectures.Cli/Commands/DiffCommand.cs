using System.CommandLine;
using HybridArchitectures.Checkpoints;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;

namespace HybridArchitectures.Cli.Commands;

/// <summary>Implements <c>hybrid diff</c>, which prints the differences between two designs or checkpoints.</summary>
static class DiffCommand
{
    public static Command Create()
    {
        var left = new Argument<string>("left") { Description = DesignArgument.Description };
        var right = new Argument<string>("right") { Description = "The design or checkpoint to compare with." };
        var command = GuardedCommand.Create(
            "diff", "Prints the differences between two checkpoints (design and weights) or two designs. Exit code 1 if "
            + "there are any.", "runs/a/step-00000100 runs/b/step-00000100");
        command.Add(left);
        command.Add(right);
        command.SetGuardedAction(parsed =>
        {
            string a = ModelFolder.Resolve(parsed.GetValue(left)!), b = ModelFolder.Resolve(parsed.GetValue(right)!);
            if (Directory.Exists(a) && Directory.Exists(b))
            {
                var checkpoints = CheckpointDiff.Compare(a, b);
                Terminal.Line($"{checkpoints}");
                return checkpoints.Design is { Count: > 0 } || checkpoints.Tensors.Any(tensor => tensor.Change != TensorChange.None) ? ExitCode.Found
                    : ExitCode.Success;
            }
            var designs = DesignArgument.Parse(a).Diff(DesignArgument.Parse(b));
            if (designs.Count == 0) Terminal.Line($"the designs are equal");
            foreach (var difference in designs) Terminal.Line($"{difference}");
            return designs.Count > 0 ? ExitCode.Found : ExitCode.Success;
        });
        return command;
    }
}
