using HybridArchitectures.Cli.Output;
using HybridArchitectures.Training.Tests;

namespace HybridArchitectures.Cli.Tests;

/// <summary>Runs commands in this process.</summary>
static class CommandLine
{
    /// <summary>Runs a command and returns its exit code, its output and its errors.</summary>
    public static (int Code, string Output, string Error) Run(params string[] arguments)
    {
        var (output, error) = (Console.Out, Console.Error);
        var (said, complained) = (new StringWriter(), new StringWriter());
        Console.SetOut(said);
        Console.SetError(complained);
        try
        {
            return (CommandTree.Run(arguments), said.ToString(), complained.ToString());
        }
        finally
        {
            Console.SetOut(output);
            Console.SetError(error);
        }
    }

    /// <summary>Runs a command that succeeds, and returns its output.</summary>
    public static string Succeeds(params string[] arguments)
    {
        var (code, output, error) = Run(arguments);
        Assert.True(code == ExitCode.Success, $"{code}: {error}{output}");
        return output;
    }

    /// <summary>Runs a command that refuses its arguments, and returns its error of one line.</summary>
    public static string Fails(params string[] arguments)
    {
        var (code, _, error) = Run(arguments);
        Assert.Equal(ExitCode.Refused, code);
        Assert.Single(error.Trim().Split('\n'));
        return error;
    }

    /// <summary>Writes a file of repetitive text, and returns its path.</summary>
    public static string SmallText(TemporaryFolder folder)
    {
        File.WriteAllText(folder["data.txt"], string.Join('\n', Enumerable.Range(0, 1500).Select(i => $"line {i % 7} of {i % 11}.\n")));
        return folder["data.txt"];
    }
}
