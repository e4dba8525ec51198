using System.CommandLine;
using HybridArchitectures.Cli.Commands;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;

namespace HybridArchitectures.Cli;

/// <summary>Defines the commands, and turns their errors into exit codes.</summary>
static class CommandTree
{
    static readonly string ExitCodes = "Exit codes: 0 success; 1 a check found a problem; 2 error, with its reason and remedy in one line; 130 "
        + "stopped by Ctrl-C after saving.";

    /// <summary>Runs a command line and returns the exit code.</summary>
    public static int Run(params string[] arguments)
    {
        var parsed = Create().Parse(arguments);
        if (parsed.Errors.Count > 0)
        {
            string errors = string.Join(' ', parsed.Errors.Select(FlagErrors.Describe).Distinct());
            string command = parsed.CommandResult.Command is RootCommand ? "" : $" {parsed.CommandResult.Command.Name}";
            Console.Error.WriteLine($"{errors} See 'hybrid{command} --help'.");
            return ExitCode.Refused;
        }
        return parsed.Invoke();
    }

    /// <summary>Creates the tree of commands.</summary>
    public static RootCommand Create() => new($"Designs, trains, evaluates and compares hybrid Transformer-Mamba language models.\n\n{ExitCodes}")
    {
        NewCommand.Create(), ReviewCommand.Create(), CostCommand.Create(), TrainCommand.Create(), EvalCommand.Create(), SweepCommand.Create(),
        ReportCommand.Create(), GenerateCommand.Create(), ChatCommand.Create(), ConvertCommand.Create(), DistillCommand.Create(),
        VerifyCommand.Create(), DiffCommand.Create(), BenchCommand.Create(),
    };
}
