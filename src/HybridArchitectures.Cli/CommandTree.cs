using System.CommandLine;
using HybridArchitectures.Cli.Commands;

namespace HybridArchitectures.Cli;

/// <summary>The commands, and how their errors end the process.</summary>
static class CommandTree
{
    static readonly string ExitCodes = "Exit codes: 0 success; 1 a check found something; 2 refused, with the reason and the cure in one line; 130 "
        + "stopped by Ctrl-C, saved.";

    /// <summary>Runs a command line.</summary>
    public static int Run(params string[] arguments)
    {
        var parsed = Create().Parse(arguments);
        if (parsed.Errors.Count > 0)
        {
            string errors = string.Join(' ', parsed.Errors.Select(error => error.Message));
            Console.Error.WriteLine($"{errors} See 'hybrid {parsed.CommandResult.Command.Name} --help'.");
            return ExitCode.Refused;
        }
        return parsed.Invoke();
    }

    /// <summary>Creates the tree.</summary>
    public static RootCommand Create() => new($"Designs, trains, evaluates and compares hybrid Transformer-Mamba language models.\n\n{ExitCodes}")
    {
        NewCommand.Create(), ReviewCommand.Create(), CostCommand.Create(), TrainCommand.Create(), EvalCommand.Create(), SweepCommand.Create(),
        ReportCommand.Create(), GenerateCommand.Create(), ChatCommand.Create(), ConvertCommand.Create(), VerifyCommand.Create(),
        DiffCommand.Create(), BenchCommand.Create(),
    };

    /// <summary>Creates a command whose help ends with an example.</summary>
    public static Command Command(string name, string description, string example) => new(name, $"{description}\n\nExample: hybrid {name} {example}");

    /// <summary>Sets what a command does. Errors that a user can mend become one line on the error stream.</summary>
    public static void SetGuardedAction(this Command command, Func<ParseResult, int> action) => command.SetAction(parsed =>
    {
        try
        {
            return action(parsed);
        }
        catch (OperationCanceledException)
        {
            return ExitCode.Interrupted;
        }
        catch (Exception e) when (
            e is ArgumentException or IOException or InvalidDataException or InvalidOperationException or UnauthorizedAccessException
            or NotSupportedException or DllNotFoundException or KeyNotFoundException)
        {
            Console.Error.WriteLine(OneLine(e));
            return ExitCode.Refused;
        }
    });

    internal static string OneLine(Exception error)
    {
        string text = error.Message;
        // .NET adds the argument's name, which the message already has
        int added = text.IndexOf(" (Parameter '", StringComparison.Ordinal);
        if (added >= 0) text = text[..added];
        return string.Join(' ', text.Split(['\r', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
    }
}
