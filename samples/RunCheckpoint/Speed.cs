using System.Diagnostics;
using System.Globalization;

namespace RunCheckpoint;

/// <summary>Measures the tokens per second: those of the prompt until the first generated token, and the later ones.</summary>
sealed class Speed(long promptTokens)
{
    readonly Stopwatch watch = Stopwatch.StartNew();
    TimeSpan first;
    long tokens;

    public void Token()
    {
        if (tokens++ == 0) first = watch.Elapsed;
    }

    public string Describe(long prompt, long generated)
    {
        double later = (watch.Elapsed - first).TotalSeconds;
        string rate = generated > 1 && later > 0 ? string.Create(CultureInfo.InvariantCulture, $", {(generated - 1) / later:0.0} tokens/s") : "";
        return string.Create(CultureInfo.InvariantCulture, $"[{prompt} tokens read in {first.TotalSeconds:0.00} s, {generated} written{rate}]");
    }

    public override string ToString() => Describe(promptTokens, tokens);
}
