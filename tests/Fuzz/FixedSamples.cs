using CsCheck;

namespace HybridArchitectures.Fuzz;

/// <summary>Generates samples that are the same in every run, so that only a change of the code changes the result of a test.</summary>
static class FixedSamples
{
    /// <summary>Runs <paramref name="check"/> on <paramref name="count"/> values; the first that fails is named by its number.</summary>
    public static void Each<T>(this Gen<T> gen, int count, Action<T> check)
    {
        for (int i = 0; i < count; i++)
        {
            var value = gen.Generate(new PCG(1, (ulong)i), null, out _);
            try
            {
                check(value);
            }
            catch (Exception error)
            {
                throw new Xunit.Sdk.XunitException($"sample {i} ({value}): {error.GetType().Name}: {error.Message}\n{error.StackTrace}");
            }
        }
    }
}
