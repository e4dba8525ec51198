using System.Security.Cryptography;

namespace RankedRun;

/// <summary>Prints lines. Those of several ranks share one stream.</summary>
static class Output
{
    public static void Print(string line)
    {
        Console.Out.Write(line + "\n");
        Console.Out.Flush();
    }

    public static string Hash(byte[] model) => Convert.ToHexString(SHA256.HashData(model));
}
