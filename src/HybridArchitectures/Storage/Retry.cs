namespace HybridArchitectures.Storage;

/// <summary>Repeats file operations that Windows refuses for a moment, because a virus scanner, an indexer or a reader has a file open.</summary>
static class Retry
{
    const int Attempts = 12;        // 1 + 2 + 4 + ... ms with a limit of 500 ms: about 2.5 s

    /// <summary>Runs an operation, on Windows several times within about 2.5 s. On other systems, a refusal is final.</summary>
    public static void Briefly(Action operation) => Briefly(operation, OperatingSystem.IsWindows());

    /// <summary>Runs an operation, on Windows several times within about 2.5 s. On other systems, a refusal is final.</summary>
    public static T Briefly<T>(Func<T> operation)
    {
        T result = default!;
        Briefly(() => { result = operation(); }, OperatingSystem.IsWindows());
        return result;
    }

    /// <summary>Runs an operation, several times within about 2.5 s if refusals may be temporary.</summary>
    public static void Briefly(Action operation, bool mayPass)
    {
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                operation();
                return;
            }
            catch (Exception e) when (mayPass && attempt < Attempts && IsPassing(e))
            {
                Thread.Sleep(Math.Min(500, 1 << attempt));
            }
        }
    }

    static bool IsPassing(Exception e) => e is UnauthorizedAccessException || (e is IOException
        && e is not (FileNotFoundException or DirectoryNotFoundException or PathTooLongException));
}
