namespace HybridArchitectures.Cli.Output;

/// <summary>Contains the exit codes of the process. The README and <c>hybrid --help</c> list them.</summary>
static class ExitCode
{
    /// <summary>The command succeeded, and no check found a problem.</summary>
    public const int Success = 0;

    /// <summary>A check found a problem: a review error, a failed verification, a difference, or a failed run.</summary>
    public const int Found = 1;

    /// <summary>An argument, a file or the machine is unsuitable. One line on the error stream states the reason and the remedy.</summary>
    public const int Refused = 2;

    /// <summary>Ctrl-C stopped the command. Its state is saved, and a line says how to continue.</summary>
    public const int Interrupted = 130;
}
