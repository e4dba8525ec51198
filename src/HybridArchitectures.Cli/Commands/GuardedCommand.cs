using System.CommandLine;
using HybridArchitectures.Cli.Output;

namespace HybridArchitectures.Cli.Commands;

/// <summary>Creates commands with an example in their help, and turns their errors into one line and an exit code.</summary>
static class GuardedCommand
{
    /// <summary>Creates a command whose help ends with an example.</summary>
    public static Command Create(string name, string description, string example) => new(name, $"{description}\n\nExample: hybrid {name} {example}");

    /// <summary>Sets the action of a command. Errors that a user can correct become one line on the error stream.</summary>
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
            or NotSupportedException or DllNotFoundException or KeyNotFoundException or InsufficientMemoryException)
        {
            Console.Error.WriteLine(OneLine(e));
            return ExitCode.Refused;
        }
    });

    internal static string OneLine(Exception error)
    {
        string text = error.Message;
        // .NET appends the name of the argument, which the message already contains
        int added = text.IndexOf(" (Parameter '", StringComparison.Ordinal);
        if (added >= 0) text = text[..added];
        return string.Join(' ', text.Split(['\r', '\n'], StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries));
    }
}
