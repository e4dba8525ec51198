namespace HybridArchitectures.Kernels.Tests;

static class Refusal
{
    /// <summary>Checks that the call throws an exception that names the argument and its value.</summary>
    public static void Expect(string argument, string was, Action call)
    {
        var error = Assert.ThrowsAny<ArgumentException>(call);
        Assert.Equal(argument, error.ParamName);
        Assert.Contains(was, error.Message);
    }
}
