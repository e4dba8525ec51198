namespace HybridArchitectures.Training.Distributed;

/// <summary>Provides the file names of MPI libraries.</summary>
static class MpiNames
{
    public const string PathVariable = "HYBRID_MPI_PATH";

    // with MPICH's name first for MPICH, because libmpi.so can be either
    static readonly string[] OpenMpi = ["libmpi.so.40", "libmpi.so.80"], Mpich = ["libmpich.so.12", "libmpi.so.12", "libmpi_intel.so.12"];

    /// <summary>Returns the names, best first. A process can use only the library of its launcher.</summary>
    public static string[] For(string launcher)
    {
        if (OperatingSystem.IsWindows()) return ["impi.dll"];
        if (OperatingSystem.IsMacOS()) return launcher == "MPICH" ? ["libmpi.12.dylib", "libpmpi.12.dylib"] : ["libmpi.40.dylib", "libmpi.dylib"];
        return launcher switch
        {
            "Open MPI" => [.. OpenMpi, "libmpi.so"],
            "MPICH" => [.. Mpich, "libmpi.so"],
            _ => [.. OpenMpi, .. Mpich, "libmpi.so"],
        };
    }
}
