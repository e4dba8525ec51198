namespace HybridArchitectures;

/// <summary>
/// Selects how much a test does: little in everyday runs, everything if the environment variable <c>HYBRID_TESTS</c> is <c>full</c>.
/// </summary>
internal static class Effort
{
    public static bool IsFull { get; } = Environment.GetEnvironmentVariable("HYBRID_TESTS") == "full";

    public static T Choose<T>(T everyday, T full) => IsFull ? full : everyday;
}
