namespace HybridArchitectures.Cli.Inputs;

/// <summary>Writes notes about parts of a checkpoint that are not loaded to the error output.</summary>
sealed class ErrorNotes : IProgress<string>
{
    public void Report(string value) => Console.Error.WriteLine(value);
}
