namespace HybridArchitectures.Cli;

/// <summary>What the process returns. The README and <c>hybrid --help</c> list them.</summary>
static class ExitCode
{
    /// <summary>All was done and nothing was found.</summary>
    public const int Success = 0;

    /// <summary>A check found something: errors of a review, a failed verification, a difference, or a run that failed.</summary>
    public const int Found = 1;

    /// <summary>An argument, a file or the machine does not allow it; one line on the error stream says why and what to do.</summary>
    public const int Refused = 2;

    /// <summary>Stopped by Ctrl-C; what can be saved is saved, and a line says how to go on.</summary>
    public const int Interrupted = 130;
}
