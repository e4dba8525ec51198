namespace HybridArchitectures.Kernels.Tests;

static class Refusal
{
    /// <summary>The call is refused by an exception that names the argument and says what it was.</summary>
    public static void Expect(string argument, string was, Action call)
    {
        var error = Assert.ThrowsAny<ArgumentException>(call);
        Assert.Equal(argument, error.ParamName);
        Assert.Contains(was, error.Message);
    }
}
