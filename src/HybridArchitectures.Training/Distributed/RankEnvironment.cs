using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace HybridArchitectures.Training.Distributed;

/// <summary>Describes the place of this process among those that a launcher has started.</summary>
/// <param name="Launcher">The name of the launcher: Open MPI, MPICH, torchrun or Slurm.</param>
/// <param name="Rank">The number of this process, from 0.</param>
/// <param name="Size">The number of processes.</param>
/// <param name="LocalRank">The number of this process on its machine, from 0.</param>
public sealed record RankEnvironment(string Launcher, int Rank, int Size, int LocalRank)
{
    // torchrun first: its processes can themselves run inside an allocation of Slurm
    static readonly (string Launcher, string Rank, string Size, string[] Local)[] Launchers =
    [
        ("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", ["OMPI_COMM_WORLD_LOCAL_RANK"]),
        ("torchrun", "RANK", "WORLD_SIZE", ["LOCAL_RANK"]),
        ("MPICH", "PMI_RANK", "PMI_SIZE", ["MPI_LOCALRANKID", "PALS_LOCAL_RANKID", "SLURM_LOCALID"]),
        ("Slurm", "SLURM_PROCID", "SLURM_NTASKS", ["SLURM_LOCALID"]),
    ];

    /// <summary>Gets or sets the address of the machine of rank 0 (<c>MASTER_ADDR</c>). Null if it is unknown.</summary>
    public string? MasterAddress { get; init; }

    /// <summary>Gets or sets the port at which rank 0 waits for the others (<c>MASTER_PORT</c>). Null if it is unknown.</summary>
    public int? MasterPort { get; init; }

    /// <summary>Gets whether the launcher is one of MPI.</summary>
    internal bool IsMpi => Launcher is "Open MPI" or "MPICH";

    /// <summary>
    /// Reads the environment variables of Open MPI (<c>OMPI_COMM_WORLD_RANK</c>), torchrun (<c>RANK</c>, <c>WORLD_SIZE</c>), MPICH
    /// (<c>PMI_RANK</c>) and Slurm (<c>SLURM_PROCID</c>, <c>SLURM_NTASKS</c>). Returns null if no launcher has started the process.
    /// </summary>
    /// <exception cref="CollectiveException">A variable is not a number, is missing, or is out of range. The message names it.</exception>
    public static RankEnvironment? Read() => Read(Environment.GetEnvironmentVariable);

    internal static RankEnvironment? Read(Func<string, string?> variable)
    {
        foreach (var (launcher, rank, size, local) in Launchers)
        {
            if (variable(rank) is not { Length: > 0 }) continue;
            // a shell in an allocation of Slurm has SLURM_PROCID but no other task
            if (launcher == "Slurm" && variable("SLURM_STEP_NUM_TASKS") is null or "1" && variable(size) is null or "1") return null;
            return Read(variable, launcher, rank, size, local);
        }
        return null;
    }

    static RankEnvironment Read(Func<string, string?> variable, string launcher, string rankName, string sizeName, string[] localNames)
    {
        int size = Number(variable, sizeName, 1, int.MaxValue), rank = Number(variable, rankName, 0, size - 1);
        string? localName = Array.Find(localNames, name => variable(name) is { Length: > 0 });
        int local = localName is null ? rank : Number(variable, localName, 0, size - 1);
        bool hasPort = variable("MASTER_PORT") is { Length: > 0 };
        int? port = hasPort ? Number(variable, "MASTER_PORT", 1, ushort.MaxValue) : null;
        // torchrun itself listens at its port
        if (port is { } own && variable("TORCHELASTIC_USE_AGENT_STORE") == "True") port = own == ushort.MaxValue ? own - 1 : own + 1;
        return new(launcher, rank, size, local)
        {
            MasterAddress = variable("MASTER_ADDR") is { Length: > 0 } address ? address : null, MasterPort = port,
        };
    }

    /// <summary>Checks that rank 0 can wait for the others at a port of this machine.</summary>
    /// <exception cref="CollectiveException">Another program uses the port.</exception>
    internal static void RequireFreePort(int port)
    {
        using var listener = new TcpListener(IPAddress.Any, port);
        try
        {
            listener.Start();
        }
        catch (SocketException e)
        {
            throw new CollectiveException(Require.Message(
                string.Create(CultureInfo.InvariantCulture, $"MASTER_PORT is {port}, where this machine does not let rank 0 listen ({e.Message})"),
                "a port that no other program uses"), e);
        }
    }

    static int Number(Func<string, string?> variable, string name, int min, int max)
    {
        string? text = variable(name);
        if (int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value) && value >= min && value <= max) return value;
        throw new CollectiveException(Require.Message($"the environment variable {name} is {(text is null ? "not set" : $"'{text}'")}",
            max == int.MaxValue ? $"a number from {min}" : $"a number from {min} to {max}"));
    }
}
