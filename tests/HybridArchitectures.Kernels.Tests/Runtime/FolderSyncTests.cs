using HybridArchitectures.Kernels.Runtime;

namespace HybridArchitectures.Kernels.Tests.Runtime;

public class FolderSyncTests
{
    [Fact]
    public void A_folder_is_brought_to_the_disk_and_one_that_is_not_there_is_not()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux() || OperatingSystem.IsMacOS(), "folders are brought to the disk on Linux and macOS alone");
        var folder = Directory.CreateTempSubdirectory("größe-");
        try
        {
            Assert.True(FolderSync.Try(folder.FullName));
            Assert.False(FolderSync.Try(Path.Combine(folder.FullName, "none")));
        }
        finally
        {
            folder.Delete();
        }
    }
}
