using System.CommandLine;
using HybridArchitectures.Cli.Inputs;
using HybridArchitectures.Cli.Output;

namespace HybridArchitectures.Cli.Commands;

/// <summary>Creates commands with an example in their help, and turns their errors into one line and an exit code.</summary>
static class GuardedCommand
{
    /// <summary>Creates a command whose help ends with an example.</summary>
    public static Command Create(string name, string description, string example) => new(name, $"{description}\n\nExample: hybrid {name} {example}");

    /// <summary>Sets the action of a command. Errors that a user can correct become one line on the error stream.</summary>
    /// <param name="command">The command.</param>
    /// <param name="action">The action. It returns the exit code.</param>
    /// <param name="keyOf">
    /// Returns what a user wrote for a setting of the library, or null. The default, null, means the names of the flags of the command.
    /// </param>
    public static void SetGuardedAction(this Command command, Func<ParseResult, int> action, Func<string, string?>? keyOf = null) =>
        command.SetAction(parsed =>
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
                Console.Error.WriteLine(FlagErrors.Rename(OneLine(e), keyOf ?? (setting => FlagErrors.FlagOf(command, setting))));
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
